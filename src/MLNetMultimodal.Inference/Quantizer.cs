using System.Diagnostics;
using System.Globalization;
using System.Numerics.Tensors;
using System.Text;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference;

/// <summary>What smaller weights are measured on.</summary>
public sealed record QuantizationOptions
{
    /// <summary>How weights are to be stored; default <see cref="OnnxDtype.Int8"/>.</summary>
    public OnnxDtype Dtype { get; init; } = OnnxDtype.Int8;

    /// <summary>Pictures like those that the model is for; default none.</summary>
    public IReadOnlyList<RgbImage> Images { get; init; } = [];

    /// <summary>Texts like those that the model is for; default none.</summary>
    public IReadOnlyList<string> Texts { get; init; } = [];

    /// <summary>The class of each picture, a position in <see cref="Labels"/>; empty (the default) leaves top-1 out.</summary>
    public IReadOnlyList<int> Classes { get; init; } = [];

    /// <summary>Names of the classes.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];

    /// <summary>Texts that name a class, with <c>{}</c> in place of the label; default <c>a photo of a {}.</c></summary>
    public IReadOnlyList<string> Templates { get; init; } = ["a photo of a {}."];

    /// <summary>How often each side is timed, alternating; the fastest counts. At least 1; default 5.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 1.</exception>
    public int Rounds
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, nameof(Rounds));
            field = value;
        }
    } = 5;
}

/// <summary>What smaller weights cost and gain one encoder.</summary>
/// <param name="Modality">The sense.</param>
/// <param name="Items">Pictures or texts that were embedded both ways; cosines and speed are NaN without any.</param>
/// <param name="ExactBytes">Bytes of its weights as 32-bit floats.</param>
/// <param name="Bytes">Bytes of its weights as they are stored now.</param>
/// <param name="MeanCosine">Mean cosine similarity of the embeddings with those of 32-bit floats.</param>
/// <param name="MinCosine">The smallest of them.</param>
/// <param name="SpeedRatio">How many times as fast: above 1 is faster. On an otherwise idle machine.</param>
public sealed record EncoderQuantization(
    Modality Modality, int Items, long ExactBytes, long Bytes, double MeanCosine, double MinCosine, double SpeedRatio);

/// <summary>What smaller weights cost and gain.</summary>
/// <param name="Dtype">How weights are stored.</param>
/// <param name="Encoders">One per sense of the model.</param>
/// <param name="ExactTop1">Share of pictures that 32-bit floats classify rightly, zero-shot, 0 to 1; null without classes.</param>
/// <param name="Top1">The same share with the smaller weights.</param>
public sealed record QuantizationReport(
    OnnxDtype Dtype, IReadOnlyList<EncoderQuantization> Encoders, double? ExactTop1, double? Top1)
{
    /// <summary>A line per encoder, and one for top-1.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        foreach (EncoderQuantization e in Encoders)
        {
            text.Append(CultureInfo.InvariantCulture, $"{e.Modality} encoder as {Dtype}: {e.Bytes / 1e6:f1} MB of {e.ExactBytes / 1e6:f1} MB");
            if (e.Items > 0)
                text.Append(CultureInfo.InvariantCulture, $", {e.SpeedRatio:f2}x as fast, cosine mean {e.MeanCosine:f4} min {e.MinCosine:f4}")
                    .Append(CultureInfo.InvariantCulture, $" over {e.Items}");
            text.Append('\n');
        }
        if (Top1 is { } top1 && ExactTop1 is { } exact)
            text.Append(CultureInfo.InvariantCulture, $"zero-shot top-1: {top1:p2}, ")
                .Append(CultureInfo.InvariantCulture, $"{(top1 - exact) * 100:+0.00;-0.00;0.00} points\n");
        return text.ToString();
    }
}

/// <summary>Measures what smaller weights do to a model (<see cref="InferenceOptions.Dtype"/>), before they are used. The graphs are those
/// that this library runs; of 8-bit weights exported ones use 7 bits always (<see cref="OnnxDtype.Q8"/>).</summary>
public static class Quantizer
{
    /// <summary>Embeds the data with 32-bit floats and with the smaller weights, and compares.</summary>
    /// <param name="folder">A model folder with weights.</param>
    /// <param name="options">Dtype and data.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <exception cref="ArgumentException">Classes and pictures differ in number, or a class is no position in the
    /// labels.</exception>
    /// <exception cref="NotSupportedException">The dtype is for folders of graphs only.</exception>
    /// <inheritdoc cref="MultimodalModel.Load(string, InferenceOptions?)" path="/exception"/>
    public static QuantizationReport Quantize(string folder, QuantizationOptions options, CancellationToken cancellation = default)
    {
        if (options.Classes.Count > 0 && options.Classes.Count != options.Images.Count)
            throw new ArgumentException(
                $"there are {options.Images.Count} pictures, but {options.Classes.Count} classes.", nameof(options));
        if (options.Classes.FirstOrDefault(c => c < 0 || c >= options.Labels.Count, -1) is >= 0 and int wrong)
            throw new ArgumentException($"the class {wrong} is none of the {options.Labels.Count} labels.", nameof(options));
        using MultimodalModel exact = MultimodalModel.Load(folder);
        using MultimodalModel small = MultimodalModel.Load(folder, new() { Dtype = options.Dtype });
        var encoders = new List<EncoderQuantization>();
        float[][] exactImages = [], smallImages = [];
        foreach (Modality modality in exact.Modalities)
        {
            bool image = modality == Modality.Image;
            int items = image ? options.Images.Count : options.Texts.Count;
            float[][] Embed(MultimodalModel model) => items == 0 ? []
                : image ? model.EmbedImages(options.Images, cancellation) : model.EmbedTexts(options.Texts, cancellation);
            (float[][] was, float[][] now, double ratio) = Compare(() => Embed(exact), () => Embed(small), options.Rounds);
            double[] cosines = [.. was.Zip(now, (a, b) => (double)TensorPrimitives.CosineSimilarity<float>(a, b))];
            (double mean, double min) = items == 0 ? (double.NaN, double.NaN) : (cosines.Average(), cosines.Min());
            encoders.Add(new(modality, items, Bytes(exact, modality, OnnxDtype.Fp32), Bytes(exact, modality, options.Dtype),
                mean, min, items == 0 ? double.NaN : ratio));
            if (image) (exactImages, smallImages) = (was, now);
        }
        if (options.Classes.Count == 0) return new(options.Dtype, encoders, null, null);
        return new(options.Dtype, encoders,
            Top1(exact, exactImages, options, cancellation), Top1(small, smallImages, options, cancellation));
    }

    /// <summary>Results of two sides and how many times as fast the second is; a first round warms up.</summary>
    static (float[][] A, float[][] B, double Ratio) Compare(Func<float[][]> a, Func<float[][]> b, int rounds)
    {
        (float[][] first, float[][] second) = (a(), b());
        TimeSpan bestA = TimeSpan.MaxValue, bestB = TimeSpan.MaxValue;
        for (int i = 0; i < rounds && first.Length > 0; i++)
        {
            bestA = Time(a, bestA);
            bestB = Time(b, bestB);
        }
        return (first, second, bestA / bestB);
    }

    static TimeSpan Time(Func<float[][]> run, TimeSpan best)
    {
        long start = Stopwatch.GetTimestamp();
        run();
        TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
        return elapsed < best ? elapsed : best;
    }

    static long Bytes(MultimodalModel model, Modality modality, OnnxDtype dtype) =>
        OnnxRecorder.RecordFastest(model.Definition.Encoders[modality], model.Weights, dtype, maps: false).WeightBytes;

    static double Top1(MultimodalModel model, float[][] images, QuantizationOptions options, CancellationToken cancellation)
    {
        ZeroShotClassifier classifier = ZeroShotClassifier.Create(model, options.Labels, options.Templates, cancellation);
        int right = 0;
        for (int i = 0; i < images.Length; i++)
        {
            float[] similarities = [.. classifier.ClassEmbeddings.Select(c => TensorPrimitives.Dot(c.Span, images[i]))];
            if (TensorPrimitives.IndexOfMax<float>(similarities) == options.Classes[i]) right++;
        }
        return (double)right / images.Length;
    }
}
