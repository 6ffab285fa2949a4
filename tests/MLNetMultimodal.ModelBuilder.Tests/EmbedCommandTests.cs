using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Parquet;

namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed partial class EmbedCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task Pictures_and_texts_give_a_row_each_and_npy_holds_the_same_values()
    {
        string folder = fixture.At("pictures", "red"), npy = fixture.At("out", "embeddings.npy");
        string[] arguments =
        [
            "embed", "--model", fixture.Model, "--image", folder, fixture.Picture("blue", 0), "--text", "a photo",
            "--strange text",
        ];
        JsonElement[] rows = (await Tool.Run(arguments)).Expect(0).Rows;
        Assert.Equal(ToolFixture.PicturesPerClass + 3, rows.Length);
        Assert.Equal([.. Enumerable.Repeat("image", ToolFixture.PicturesPerClass + 1), "text", "text"],
            rows.Select(r => r.GetProperty("modality").GetString()));
        Assert.Equal(Path.Combine(folder, "0.png"), rows[0].GetProperty("input").GetString());
        Assert.Equal("--strange text", rows[^1].GetProperty("input").GetString());
        float[][] embeddings =
            [.. rows.Select(r => r.GetProperty("embedding").EnumerateArray().Select(v => v.GetSingle()).ToArray())];
        foreach (float[] embedding in embeddings) Assert.Equal(1, embedding.Sum(v => v * v), 1e-5);

        Assert.Equal("", (await Tool.Run([.. arguments, "--format", "npy", "--output", npy])).Expect(0).Output);
        (int[] shape, float[] values) = ReadNpy(File.ReadAllBytes(npy));
        Assert.Equal([rows.Length, ToolFixture.EmbeddingWidth], shape);
        Assert.Equal(embeddings.SelectMany(e => e), values);
    }

    [Fact]
    public async Task The_graph_cache_of_the_environment_changes_no_row()
    {
        string cache = fixture.At("graphs");
        string[] arguments = ["embed", "--model", fixture.Model, "--image", fixture.Picture("red", 0), "--text", "a photo"];
        string expected = (await Tool.Run([("MULTIMODAL_GRAPH_CACHE", "")], arguments)).Expect(0).Output;
        Assert.False(Directory.Exists(cache));
        for (int run = 0; run < 2; run++)
        {
            Assert.Equal(expected, (await Tool.Run([("MULTIMODAL_GRAPH_CACHE", cache)], arguments)).Expect(0).Output);
            Assert.Equal(2, Directory.EnumerateDirectories(cache).Count()); // a tower each
        }
    }

    [Fact]
    public async Task Parquet_holds_the_same_rows()
    {
        string file = fixture.At("out", "embeddings.parquet");
        string[] arguments = ["embed", "--model", fixture.Model, "--image", fixture.Pictures, "--text", "a photo", "a thing"];
        JsonElement[] rows = (await Tool.Run(arguments)).Expect(0).Rows;
        Assert.Equal("", (await Tool.Run([.. arguments, "--format", "parquet", "--output", file])).Expect(0).Output);
        await using ParquetReader reader = await ParquetReader.CreateAsync(file);
        Assert.Equal(["modality", "input", "embedding/list/element"], reader.Schema.DataFields.Select(f => f.Path.ToString()));
        using ParquetRowGroupReader group = reader.OpenRowGroupReader(0);
        Assert.Equal((1, rows.Length), (reader.RowGroupCount, (int)group.RowCount));
        string?[] modalities = new string?[rows.Length], inputs = new string?[rows.Length];
        await group.ReadAsync(reader.Schema.DataFields[0], modalities.AsMemory());
        await group.ReadAsync(reader.Schema.DataFields[1], inputs.AsMemory());
        int length = rows.Length * ToolFixture.EmbeddingWidth;
        (float[] values, int[] defined, int[] repeated) = (new float[length], new int[length], new int[length]);
        await group.ReadRawAsync(reader.Schema.DataFields[2], values.AsMemory(), defined.AsMemory(), repeated.AsMemory(), default);
        Assert.Equal(rows.Select(r => r.GetProperty("modality").GetString()), modalities);
        Assert.Equal(rows.Select(r => r.GetProperty("input").GetString()), inputs);
        Assert.Equal(rows.SelectMany(r => r.GetProperty("embedding").EnumerateArray().Select(v => v.GetSingle())), values);
        Assert.Equal(Enumerable.Range(0, length).Select(i => i % ToolFixture.EmbeddingWidth == 0 ? 0 : 1), repeated);
    }

    [Fact]
    public async Task Lists_come_from_files_and_standard_input()
    {
        string list = fixture.At("texts.txt");
        File.WriteAllText(list, "a red thing\n\n--model\n");
        using Process process = Tool.Start("embed", "--model", fixture.Model, "--images-from", "-", "--texts-from", list);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        for (int i = 0; i < 100; i++) await process.StandardInput.WriteLineAsync(fixture.Picture(i % 2 == 0 ? "red" : "blue", i % 5));
        await process.StandardInput.WriteLineAsync(fixture.At("pictures", "blue"));
        process.StandardInput.Close();
        JsonElement[] rows = (await Tool.Finish(process, errors)).Expect(0).Rows;
        Assert.Equal(100 + ToolFixture.PicturesPerClass + 2, rows.Length);
        Assert.Equal(fixture.Picture("blue", 3), rows[3].GetProperty("input").GetString());
        Assert.Equal(["a red thing", "--model"], rows[^2..].Select(r => r.GetProperty("input").GetString()));
        static string Embedding(JsonElement row) => row.GetProperty("embedding").GetRawText();
        Assert.Equal(Embedding(rows[2]), Embedding(rows[12]));
        Assert.NotEqual(Embedding(rows[2]), Embedding(rows[3]));
    }

    [Fact]
    public async Task Wrong_usage_is_told()
    {
        (await Tool.Run("embed", "--model", fixture.Model, "--images-from", "-", "--texts-from", "-")).Expect(2);
        (await Tool.Run("embed", "--model", fixture.Model, "--text", "a", "--format", "parquet")).Expect(2);
        (await Tool.Run("embed", "--model", fixture.Model)).Expect(2);
    }

    [Fact]
    public async Task An_unreadable_picture_fails_with_its_name_and_leaves_no_file()
    {
        string output = fixture.At("none", "embeddings.json");
        ToolResult result = await Tool.Run(
            "embed", "--model", fixture.Model, "--image", fixture.Picture("red", 0), fixture.Broken, "--output", output);
        result.ExpectOneLine(1, fixture.Broken, "is not a JPEG");
        Assert.False(Directory.Exists(fixture.At("none")));
    }

    /// <summary>Reads the format by its description, not by our writer.</summary>
    static (int[] Shape, float[] Values) ReadNpy(byte[] file)
    {
        Assert.Equal([0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y', 1, 0], file[..8]);
        int length = BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(8));
        Assert.Equal(0, (10 + length) % 64);
        string header = Encoding.ASCII.GetString(file, 10, length);
        Assert.EndsWith("\n", header);
        Match match = Header().Match(header);
        Assert.True(match.Success, header);
        int Number(int group) => int.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);
        int[] shape = [Number(1), Number(2)];
        Assert.Equal(10 + length + 4 * shape[0] * shape[1], file.Length);
        return (shape,
            [.. Enumerable.Range(0, shape[0] * shape[1]).Select(i => BitConverter.ToSingle(file, 10 + length + 4 * i))]);
    }

    [GeneratedRegex(@"^\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n$")]
    private static partial Regex Header();
}
