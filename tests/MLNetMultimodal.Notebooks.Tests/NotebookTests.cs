using System.Buffers.Binary;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis.Scripting;

namespace MLNetMultimodal.Notebooks.Tests;

public sealed partial class NotebookTests
{
    const string Html = "text/html";
    const double Tolerance = 0.02; // scores are printed with two or three decimals, and another processor sums in another order

    static readonly bool Writes = Environment.GetEnvironmentVariable("MULTIMODAL_NOTEBOOKS") == "write";

    static string Folder { get; } = Path.Combine(RepositoryFolder(), "notebooks");

    public static TheoryData<string> Notebooks =>
        [.. Directory.GetFiles(Folder, "*.ipynb").Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(Notebooks))]
    public async Task Every_cell_runs_and_shows_what_the_file_says(string file)
    {
        Notebook notebook = Notebook.Load(Path.Combine(Folder, file));
        var session = new NotebookSession();
        string before = Environment.CurrentDirectory;
        Environment.CurrentDirectory = Folder;
        try
        {
            int count = 0;
            foreach (Cell cell in notebook.CodeCells)
            {
                IReadOnlyList<CellOutput> outputs = await Run(session, cell, file);
                count++;
                if (Writes) cell.SetOutputs(outputs, count);
                else Compare(file, cell, outputs);
            }
            if (Writes) notebook.Save();
        }
        finally
        {
            Environment.CurrentDirectory = before;
        }
    }

    [Fact]
    public async Task A_cell_sees_what_cells_before_it_declared()
    {
        var session = new NotebookSession();
        await session.Run("#r \"nuget: Anything, *-*\"\nint three = 3;");
        Assert.Equal([new(CellOutput.Text, "3\n"), new("image/png", "AAAA"), new(CellOutput.Text, "4\n")],
            await session.Run("Console.WriteLine(three); \"AAAA\".DisplayAs(\"image/png\"); Console.WriteLine(three + 1);"));
    }

    [Fact]
    public async Task An_expression_at_the_end_of_a_cell_is_an_error() =>
        await Assert.ThrowsAsync<InvalidOperationException>(() => new NotebookSession().Run("1 + 1"));

    [Theory]
    [InlineData("int three = \"three\";", "cell 5 does not compile")]
    [InlineData("throw new Exception(\"no bread\");", "cell 5 fails: no bread")]
    public async Task An_error_names_the_cell(string source, string message)
    {
        var cell = new Cell(5, new() { ["source"] = source });
        Exception e = await Assert.ThrowsAsync<InvalidOperationException>(() => Run(new(), cell, "a.ipynb"));
        Assert.Contains(message, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("score 0.501 of a", "score 0.512 of a", true)]
    [InlineData("score 0.501 of a", "score 0.601 of a", false)]
    [InlineData("score 0.501 of a", "score 0.501 of b", false)]
    [InlineData("33 of 40", "34 of 40", false)]
    [InlineData("a 0.1", "a 0.1 0.2", false)]
    public void Texts_are_equal_but_for_the_last_digits_of_numbers(string stored, string now, bool equal) =>
        Assert.Equal(equal, SameText(stored, now));

    static async Task<IReadOnlyList<CellOutput>> Run(NotebookSession session, Cell cell, string file)
    {
        try
        {
            return await session.Run(cell.Source);
        }
        catch (CompilationErrorException e)
        {
            throw new InvalidOperationException(
                $"{file}, cell {cell.Number} does not compile:\n{string.Join('\n', e.Diagnostics)}", e);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{file}, cell {cell.Number} fails: {e.Message}", e);
        }
    }

    static void Compare(string file, Cell cell, IReadOnlyList<CellOutput> now)
    {
        IReadOnlyList<CellOutput> stored = cell.Outputs;
        string where = $"{file}, cell {cell.Number}";
        string kinds = string.Join(", ", now.Select(o => o.MediaType));
        string storedKinds = string.Join(", ", stored.Select(o => o.MediaType));
        Assert.True(kinds == storedKinds, $"{where} shows {kinds}, but the file has {storedKinds}.");
        if (cell.Varies) return;
        foreach ((CellOutput a, CellOutput b) in stored.Zip(now))
        {
            if (a.MediaType == CellOutput.Text)
                Assert.True(SameText(a.Content, b.Content), $"{where} prints\n{b.Content}\nbut the file has\n{a.Content}");
            else if (a.MediaType == Html)
                Assert.True(Embedded(a.Content) == Embedded(b.Content), $"{where} shows\n{Embedded(b.Content)}\nbut the file has\n{Embedded(a.Content)}");
            else
                Assert.True(PngSize(a.Content) == PngSize(b.Content),
                    $"{where} shows a picture of {PngSize(b.Content)}, but the file has one of {PngSize(a.Content)}.");
        }
    }

    static bool SameText(string stored, string now) =>
        Decimals().Replace(stored, "#") == Decimals().Replace(now, "#")
        && Values(stored).Zip(Values(now), (a, b) => Math.Abs(a - b)).All(difference => difference <= Tolerance);

    static IEnumerable<double> Values(string text) =>
        Decimals().Matches(text).Select(m => double.Parse(m.ValueSpan, CultureInfo.InvariantCulture));

    [GeneratedRegex(@"-?[0-9]+\.[0-9]+")]
    private static partial Regex Decimals();

    /// <summary>HTML with the length of each embedded file in place of its bytes, whose last bits another processor may round
    /// otherwise.</summary>
    static string Embedded(string html) =>
        Base64().Replace(html, m => $"base64,({Convert.FromBase64String(m.Groups[1].Value).Length} bytes)");

    [GeneratedRegex("base64,([A-Za-z0-9+/=]+)")]
    private static partial Regex Base64();

    /// <summary>Width and height, which stand in the header of a PNG file at byte 16.</summary>
    static (int Width, int Height) PngSize(string base64)
    {
        ReadOnlySpan<byte> png = Convert.FromBase64String(base64);
        Assert.True(png.Length > 24 && png[1..4].SequenceEqual("PNG"u8), "a picture is not a PNG file.");
        return (BinaryPrimitives.ReadInt32BigEndian(png[16..]), BinaryPrimitives.ReadInt32BigEndian(png[20..]));
    }

    static string RepositoryFolder()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "MLNetMultimodal.sln")))
            folder = Path.GetDirectoryName(folder);
        return folder ?? throw new DirectoryNotFoundException(
            $"no folder above '{AppContext.BaseDirectory}' has MLNetMultimodal.sln.");
    }
}
