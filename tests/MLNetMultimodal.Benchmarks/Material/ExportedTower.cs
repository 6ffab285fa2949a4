using Microsoft.ML.OnnxRuntime;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Benchmarks.Material;

/// <summary>An exported image graph behind our preprocessing: batches of 8 side by side, one per core.</summary>
/// <param name="images">The model's preprocessing.</param>
/// <param name="graph">The graph.</param>
sealed class ExportedTower(ImagePreprocessing images, string graph) : IDisposable
{
    const int Batch = 8;

    readonly InferenceSession _session = Open(graph);

    static InferenceSession Open(string graph)
    {
        using var options = new SessionOptions { IntraOpNumThreads = 1 };
        return new(graph, options);
    }

    /// <summary>Embeddings of length 1.</summary>
    public float[][] Embed(string[] paths)
    {
        int size = 3 * images.Height * images.Width;
        var rows = new float[paths.Length][];
        var cores = new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount };
        Parallel.For(0, (paths.Length + Batch - 1) / Batch, cores, batch =>
        {
            string[] part = [.. paths.Skip(batch * Batch).Take(Batch)];
            var pixels = new float[part.Length * size];
            for (int i = 0; i < part.Length; i++) images.Apply(ImageDecoder.Decode(part[i]), pixels.AsSpan(i * size, size));
            using OrtValue input = OrtValue.CreateTensorValueFromMemory(pixels, [part.Length, 3, images.Height, images.Width]);
            using var options = new RunOptions();
            using var outputs = _session.Run(options, ["pixel_values"], [input], ["image_embeds"]);
            float[] embeds = outputs[0].GetTensorDataAsSpan<float>().ToArray();                         // [B, E]
            Agreement.Unit(embeds.Chunk(embeds.Length / part.Length)).CopyTo(rows, batch * Batch);
        });
        return rows;
    }

    public void Dispose() => _session.Dispose();
}
