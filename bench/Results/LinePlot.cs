using System.Globalization;
using System.Text;

namespace LsmFs.Results;

/// <summary>Lines over time as a small SVG.</summary>
public static class LinePlot
{
    private const int Width = 720;
    private const int Height = 220;
    private const int Left = 64;
    private const int Bottom = 24;
    private const int Top = 24;

    /// <summary>Draws series of (seconds, value), from zero up.</summary>
    public static string Draw(string title, IReadOnlyList<(string Name, IReadOnlyList<(double X, double Y)> Points)> series)
    {
        var points = series.SelectMany(line => line.Points).ToArray();
        var xMax = Math.Max(1e-9, points.Select(point => point.X).DefaultIfEmpty(1).Max());
        var yMax = Math.Max(1e-9, points.Select(point => point.Y).DefaultIfEmpty(1).Max());
        var svg = new StringBuilder();
        void Line(FormattableString text) => svg.AppendLine(text.ToString(CultureInfo.InvariantCulture));
        double X(double x) => Left + (x / xMax * (Width - Left - 8));
        double Y(double y) => Height - Bottom - (y / yMax * (Height - Bottom - Top));
        Line($"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" font-family=\"sans-serif\" font-size=\"11\">");
        Line($"<rect width=\"{Width}\" height=\"{Height}\" fill=\"white\"/><text x=\"{Left}\" y=\"14\">{Svg.Escape(title)}</text>");
        for (var tick = 0; tick <= 4; tick++)
        {
            Line($"<path d=\"M{Left} {Y(yMax * tick / 4):F1}H{Width - 8}\" stroke=\"#ddd\"/>");
            Line($"<text x=\"{Left - 4}\" y=\"{Y(yMax * tick / 4) + 4:F1}\" text-anchor=\"end\">{yMax * tick / 4:N0}</text>");
            Line($"<text x=\"{X(xMax * tick / 4):F1}\" y=\"{Height - 8}\" text-anchor=\"middle\">{xMax * tick / 4:N0} s</text>");
        }

        for (var index = 0; index < series.Count; index++)
        {
            var (colour, (name, line)) = (Svg.Colour(index), series[index]);
            var path = string.Join('L', line.Select(point => string.Create(CultureInfo.InvariantCulture, $"{X(point.X):F1} {Y(point.Y):F1}")));
            Line($"<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\"/>");
            Line($"<text x=\"{Width - 8 - (90 * (series.Count - 1 - index))}\" y=\"14\" text-anchor=\"end\" fill=\"{colour}\">{Svg.Escape(name)}</text>");
        }

        return svg.Append("</svg>\n").ToString();
    }
}
