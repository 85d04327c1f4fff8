using System.Globalization;
using System.Text;

namespace LsmFs.Results;

/// <summary>The report: a page of Markdown, and the plots that it shows. A function of what was measured and of what was written by hand.</summary>
/// <param name="Markdown">The page.</param>
/// <param name="Plots">SVG by file name; the page looks for them in the folder results.</param>
/// <param name="UnmeasuredCount">Targets that no row feeds.</param>
public sealed record ResultsPage(string Markdown, IReadOnlyDictionary<string, string> Plots, int UnmeasuredCount)
{
    /// <param name="targets">What had to be reached.</param>
    /// <param name="parts">What was measured, in the order of the page.</param>
    /// <param name="remarks">Markdown by the heading it belongs under: a section, "Targets", or "" for the opening.</param>
    /// <param name="failures">A line for each part that could not be measured.</param>
    public static ResultsPage Compose(
        IReadOnlyList<Target> targets, IReadOnlyList<PartResult> parts, IReadOnlyDictionary<string, string> remarks, IReadOnlyList<string> failures)
    {
        var page = new StringBuilder();
        var plots = new SortedDictionary<string, string>(StringComparer.Ordinal);
        void Line(string text = "") => page.Append(text).Append('\n');
        void Remarks(string heading)
        {
            if (remarks.TryGetValue(heading, out var text))
            {
                Line();
                Line(text);
            }
        }

        void Plot(string title, string svg)
        {
            var file = $"{FileStem(title)}.svg";
            plots[file] = svg;
            Line();
            Line($"![{title}](results/{file})");
        }

        var rows = parts.SelectMany(part => part.Rows).ToArray();
        var measured = targets.Select(target => (Target: target, Spread: target.Measured(rows))).ToArray();
        var metCount = measured.Count(each => each.Spread is { } spread && each.Target.IsMetBy(spread.Median));
        var unmeasuredCount = measured.Count(each => each.Spread is null);

        Line("# Results");
        Remarks("");
        Line();
        Line("| part | commit | measured at (UTC) | machine | system | beside |");
        Line("|---|---|---|---|---|---|");
        foreach (var part in parts)
        {
            Line(Origin(part));
        }

        foreach (var failure in failures)
        {
            Line();
            Line($"**Not measured:** {failure}");
        }

        Line();
        Line("## Targets");
        Line();
        Line($"{metCount} of {targets.Count} are met{(unmeasuredCount > 0 ? $", **{unmeasuredCount} not measured**" : "")}.");
        Line();
        Line("| work | row | target | measured | met | |");
        Line("|---|---|---|---|---|---|");
        foreach (var (target, spread) in measured)
        {
            var verdict = spread is null ? "not measured" : target.IsMetBy(spread.Median) ? "yes" : "**no**";
            var figure = spread is null ? "not measured" : Figure.Text(spread, target.Peer is null ? Figure.Text : Figure.Ratio, "**");
            Line($"| {Cell(target.Work)} | {Cell(target.Row)}: {Cell(target.Unit)} | {Cell(target.Demand)} | {figure} | {verdict} | {Cell(target.Note ?? "")} |");
        }

        Remarks("Targets");
        Plot("Targets", BarPlot.DrawMargins("Targets", [.. measured.Select(each => ($"{each.Target.Row}: {each.Target.Unit}", each.Spread is { } spread ? each.Target.Margin(spread) : null))]));

        foreach (var part in parts)
        {
            Line();
            Line($"## {char.ToUpperInvariant(part.Part[0])}{part.Part[1..]}");
            Line();
            Line($"    {part.Command}");
            Line();
            Line(part.Conditions);
            foreach (var section in part.Rows.GroupBy(row => row.Section))
            {
                ResultRow[] ofSection = [.. section];
                Line();
                Line($"### {section.Key}");
                Line();
                WriteTable(page, ofSection);
                Remarks(section.Key);
                Plot(section.Key, BarPlot.Draw(section.Key, ofSection));
            }
        }

        return new ResultsPage(page.ToString(), plots, unmeasuredCount);
    }

    /// <summary>Splits a file of remarks at its headings "## HEADING"; what stands before the first is the opening.</summary>
    public static IReadOnlyDictionary<string, string> ReadRemarks(string text)
    {
        var remarks = new Dictionary<string, string>();
        foreach (var piece in $"## \n{text}".Split("\n## ").Select((piece, index) => index == 0 ? piece["## ".Length..] : piece))
        {
            var end = piece.IndexOf('\n');
            if (end >= 0 && piece[end..].Trim() is { Length: > 0 } remark)
            {
                remarks[piece[..end].Trim()] = remark;
            }
        }

        return remarks;
    }

    /// <summary>A table of the figures, the peers' and their ratios, and what there is to say of its rows.</summary>
    public static void WriteTable(StringBuilder page, IReadOnlyList<ResultRow> rows)
    {
        string[] peers = [.. rows.SelectMany(row => row.Peers.Keys).Distinct()];
        page.Append($"| | | LsmFs |{string.Concat(peers.Select(peer => $" {peer} |"))}{string.Concat(peers.Select(peer => $" LsmFs / {peer} |"))}\n");
        page.Append($"|---|---|---:|{string.Concat(Enumerable.Repeat("---:|", peers.Length * 2))}\n");
        foreach (var row in rows)
        {
            string[] cells =
            [
                Cell(row.Name),
                Cell(row.Unit),
                Figure.Text(Spread.From(row.LsmFs), Figure.Text),
                .. peers.Select(peer => row.Peers.TryGetValue(peer, out var figures) ? Figure.Text(Spread.From(figures), Figure.Text) : ""),
                .. peers.Select(peer => row.Peers.ContainsKey(peer) ? Figure.Text(row.RatioTo(peer), Figure.Ratio, "**") : ""),
            ];
            page.Append($"| {string.Join(" | ", cells)} |\n");
        }

        var notes = rows.Where(row => row.Note is not null).GroupBy(row => row.Note).ToArray();
        if (notes.Length > 0)
        {
            page.Append('\n');
        }

        foreach (var note in notes)
        {
            page.Append($"- {string.Join("; ", note.Select(row => row.Name).Distinct())}: {note.Key}\n");
        }
    }

    private static string Origin(PartResult part)
    {
        var machine = part.Environment;
        var peers = string.Join(", ", machine.Peers.Select(peer => $"{peer.Key} {peer.Value}"));
        return string.Create(
            CultureInfo.InvariantCulture,
            $"| {part.Part} | {machine.Commit} | {machine.MeasuredAt.UtcDateTime:yyyy-MM-dd HH:mm} | {machine.CoreCount} cores, {Cell(machine.Processor)}, {machine.MemoryBytes / (double)(1 << 30):F0} GiB | {Cell(machine.Kernel)}, {machine.DotNet} | {peers} |");
    }

    private static string Cell(string text) => text.Replace("|", "\\|", StringComparison.Ordinal).ReplaceLineEndings(" ");

    private static string FileStem(string title) =>
        string.Join('-', new string([.. title.ToLowerInvariant().Select(letter => char.IsAsciiLetterOrDigit(letter) ? letter : ' ')]).Split(' ', StringSplitOptions.RemoveEmptyEntries));
}
