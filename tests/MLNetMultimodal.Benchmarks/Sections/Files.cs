using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Embeddings that go into files, against those that a program reads row by row and forgets.</summary>
static class Files
{
    const string Read = "read row by row", Binary = "ml.Data.SaveAsBinary", NumPy = "npy", Parquet = "parquet";
    const float Tolerance = 1e-6f;

    public static void Measure(BenchmarkRun run)
    {
        string folder = Directory.CreateTempSubdirectory("mlnet-multimodal-files-").FullName;
        try
        {
            Measure(run, folder);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static void Measure(BenchmarkRun run, string folder)
    {
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer embed = Rows.Embedder(ml, new() { Model = StarterModel.Folder, Text = nameof(TextRow.Text) });
        string[] texts = Captions.Take(run.Size(100_000, 300)), few = texts[..run.Size(30_000, 100)];
        IDataView all = embed.Transform(Rows.Texts(ml, texts)), start = embed.Transform(Rows.Texts(ml, few));
        string allTexts = Path.Combine(folder, "all.txt"), fewTexts = Path.Combine(folder, "few.txt"), output = Path.Combine(folder, "output");
        string check = Path.Combine(folder, "check.idv"); // stays open
        File.WriteAllLines(allTexts, texts);
        File.WriteAllLines(fewTexts, few);

        float[][] expected = Rows.Read(start);
        Embed(fewTexts, NumPy, output);
        Agreement.Require(run, "embeddings in an .npy", NumPyRows(output, expected[0].Length), expected, Tolerance);
        Save(start, check);
        Agreement.Require(run, "embeddings in ML.NET's binary file", Rows.Read(ml.Data.LoadFromBinary(check)), expected, Tolerance);

        Alternation rates = Alternation.Run(run, 5, 120, "texts/s",
            new(Read, () => Alternation.Rate(texts.Length, () => Rows.ForEach(all, "Embedding", (in VBuffer<float> _) => { }))),
            new(Binary, () => Alternation.Rate(texts.Length, () => Save(all, output))),
            new(NumPy, () => RateOfTool(NumPy)), new(Parquet, () => RateOfTool(Parquet)));
        foreach (string file in new[] { Binary, NumPy, Parquet })
            run.Add(rates.Compare(file == Binary ? file : $"mlnet-multimodal embed --format {file}", file, Read));
        run.Note($"The starter, {texts.Length:n0} short texts, no two alike. Of the tool's time that for {few.Length:n0} texts is taken off, and "
            + "with it the start of the process. All cores are busy on every side; ML.NET's file is compressed and holds the texts, too.");

        void Save(IDataView rows, string file)
        {
            using FileStream stream = File.Create(file);
            ml.Data.SaveAsBinary(rows, stream);
        }

        double RateOfTool(string format) => (texts.Length - few.Length) / (Embed(allTexts, format, output) - Embed(fewTexts, format, output));
    }

    /// <summary>Runs the tool, and gives the seconds that it took.</summary>
    static double Embed(string texts, string format, string output)
    {
        string[] arguments = [Path.Combine(AppContext.BaseDirectory, "mlnet-multimodal.dll"), "embed", "--model", StarterModel.Folder,
            "--texts-from", texts, "--format", format, "--output", output];
        long start = Stopwatch.GetTimestamp();
        using Process process = Process.Start(new ProcessStartInfo("dotnet", arguments) { RedirectStandardError = true })!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? Stopwatch.GetElapsedTime(start).TotalSeconds
            : throw new BenchmarkException($"'dotnet {string.Join(' ', arguments)}' ended with {process.ExitCode}: {errors}");
    }

    static float[][] NumPyRows(string file, int width)
    {
        ReadOnlySpan<byte> bytes = File.ReadAllBytes(file);
        int header = 10 + BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]);
        return [.. MemoryMarshal.Cast<byte, float>(bytes[header..]).ToArray().Chunk(width)];
    }
}
