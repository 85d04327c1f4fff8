using System.Globalization;
using System.Text;

namespace LsmFs.Results;

/// <summary>Horizontal bars as a small SVG: medians, with a line from the least to the most.</summary>
public static class BarPlot
{
    private const int Width = 760;
    private const int LabelWidth = 330;
    private const int FigureWidth = 70;
    private const int BarHeight = 12;
    private const int Gap = 6;

    /// <summary>A section: one panel for each unit, from zero to the largest figure in it.</summary>
    public static string Draw(string title, IReadOnlyList<ResultRow> rows)
    {
        var series = ((string[])["LsmFs", .. rows.SelectMany(row => row.Peers.Keys).Distinct()]).ToList();
        var canvas = new Canvas(title, series.Count > 1 ? series : []);
        foreach (var panel in rows.GroupBy(row => row.Unit))
        {
            var lines = panel.Select(row => (row.Name, Spreads: series.ConvertAll(name => Spread.From([.. Figures(row, name)])))).ToArray();
            var most = lines.SelectMany(line => line.Spreads).Max(spread => spread?.Max ?? 0);
            canvas.Heading(panel.Key);
            foreach (var (name, spreads) in lines)
            {
                canvas.Label(name, spreads.Count(spread => spread is not null));
                for (var index = 0; index < series.Count; index++)
                {
                    if (spreads[index] is { } spread)
                    {
                        canvas.Bar(Svg.Colour(index), spread, value => most > 0 ? value / most : 0, 0, Figure.Text(spread.Median));
                    }
                }

                canvas.Skip(Gap);
            }
        }

        return canvas.Finish();
    }

    /// <summary>How often each figure is as good as its target asks, on a logarithmic axis around 1; null where nothing was measured.</summary>
    public static string DrawMargins(string title, IReadOnlyList<(string Name, Spread? Margin)> targets)
    {
        const double Decades = 1.5;
        static double Place(double margin) => margin > 0 ? Math.Clamp(0.5 + (Math.Log10(margin) / Decades / 2), 0, 1) : 0;
        var canvas = new Canvas(title, []);
        canvas.Heading("times as good as asked for: right of the middle is met");
        foreach (var (name, margin) in targets)
        {
            canvas.Label(name, 1);
            if (margin is null)
            {
                canvas.Missing("not measured");
            }
            else
            {
                canvas.Bar(Svg.Colour(margin.Median >= 1 ? 4 : 1), margin, Place, 0.5, Figure.Ratio(margin.Median));
            }

            canvas.Skip(Gap);
        }

        return canvas.Finish();
    }

    private static IReadOnlyList<double?> Figures(ResultRow row, string series) =>
        series == "LsmFs" ? row.LsmFs : row.Peers.GetValueOrDefault(series, []);

    private sealed class Canvas
    {
        private const int PlotWidth = Width - LabelWidth - FigureWidth;
        private readonly StringBuilder _svg = new();
        private int _y = 34;

        public Canvas(string title, List<string> series)
        {
            Line($"<text x=\"8\" y=\"16\" font-size=\"13\">{Svg.Escape(title)}</text>");
            for (var index = 0; index < series.Count; index++)
            {
                Line($"<text x=\"{Width - 8 - (90 * (series.Count - 1 - index))}\" y=\"16\" text-anchor=\"end\" fill=\"{Svg.Colour(index)}\">{Svg.Escape(series[index])}</text>");
            }
        }

        public void Heading(string text)
        {
            _y += 8;
            Line($"<text x=\"8\" y=\"{_y}\" font-weight=\"bold\">{Svg.Escape(text)}</text>");
            _y += 8;
        }

        public void Label(string text, int barCount) =>
            Line($"<text x=\"{LabelWidth - 6}\" y=\"{_y + (Math.Max(barCount, 1) * BarHeight / 2) + 4}\" text-anchor=\"end\">{Svg.Escape(text)}</text>");

        /// <summary>A bar from one place (0 to 1) to that of the median.</summary>
        public void Bar(string colour, Spread spread, Func<double, double> place, double from, string figure)
        {
            double X(double at) => LabelWidth + (at * PlotWidth);
            var (left, right) = (X(Math.Min(from, place(spread.Median))), X(Math.Max(from, place(spread.Median))));
            var middle = _y + (BarHeight / 2);
            Line($"<rect x=\"{left:F1}\" y=\"{_y + 1}\" width=\"{Math.Max(right - left, 1):F1}\" height=\"{BarHeight - 2}\" fill=\"{colour}\"/>");
            if (spread.Min < spread.Max)
            {
                Line($"<path d=\"M{X(place(spread.Min)):F1} {middle}H{X(place(spread.Max)):F1}\" stroke=\"black\"/>");
            }

            Line($"<text x=\"{Math.Max(right, X(place(spread.Max))) + 4:F1}\" y=\"{middle + 4}\">{figure}</text>");
            _y += BarHeight;
        }

        public void Missing(string text)
        {
            Line($"<text x=\"{LabelWidth + 4}\" y=\"{_y + (BarHeight / 2) + 4}\" fill=\"#888\">{text}</text>");
            _y += BarHeight;
        }

        public void Skip(int height) => _y += height;

        public string Finish() => string.Create(
            CultureInfo.InvariantCulture,
            $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {_y + 4}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{Width}\" height=\"{_y + 4}\" fill=\"white\"/>\n{_svg}</svg>\n");

        private void Line(FormattableString text) => _svg.Append(text.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }
}
