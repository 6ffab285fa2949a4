using System.Numerics.Tensors;

namespace MLNetMultimodal.Inference;

/// <summary>Classifies embeddings by comparing them with texts that name the classes (Radford et al. 2021, arXiv:2103.00020,
/// section 3.1). A class is the mean of its prompts' embeddings, each of length 1, brought to length 1 again. Immutable and
/// thread-safe.</summary>
public sealed class ZeroShotClassifier
{
    const string Slot = "{}";
    const float MinLength = 1e-12f; // as L2Normalize has it

    readonly float[][] _classes;

    ZeroShotClassifier(IReadOnlyList<string> labels, IReadOnlyList<string> templates, float[][] classes, float logitScale) =>
        (Labels, Templates, _classes, LogitScale) = (labels, templates, classes, logitScale);

    /// <summary>The classes.</summary>
    public IReadOnlyList<string> Labels { get; }

    /// <summary>Texts with <c>{}</c> in place of the label.</summary>
    public IReadOnlyList<string> Templates { get; }

    /// <summary>Every text that was embedded, for reports: all templates of the first label, then of the second.</summary>
    public IReadOnlyList<string> Prompts =>
        [.. Labels.SelectMany(label => Templates.Select(t => t.Replace(Slot, label, StringComparison.Ordinal)))];

    /// <summary>One row of E values and length 1 per label.</summary>
    public IReadOnlyList<ReadOnlyMemory<float>> ClassEmbeddings => [.. _classes.Select(c => (ReadOnlyMemory<float>)c)];

    /// <summary>What cosine similarities are multiplied with before the softmax, more than 0.</summary>
    public float LogitScale { get; }

    /// <summary>Embeds the prompts with a model.</summary>
    /// <param name="model">The model; needed only here.</param>
    /// <param name="labels">At least one, distinct, none empty.</param>
    /// <param name="templates">At least one; each contains <c>{}</c>, for example <c>a photo of a {}.</c></param>
    /// <param name="cancellation">Ends the work between two batches of texts.</param>
    /// <exception cref="ArgumentException">Labels or templates are not as said; the message names the first that is
    /// wrong.</exception>
    public static ZeroShotClassifier Create(
        MultimodalModel model, IReadOnlyList<string> labels, IReadOnlyList<string> templates, CancellationToken cancellation = default)
    {
        Check(labels, templates);
        var prompts = new ZeroShotClassifier([.. labels], [.. templates], [], model.LogitScale);
        float[][] embeds = model.EmbedTexts(prompts.Prompts, cancellation);
        return new(prompts.Labels, prompts.Templates, [.. embeds.Chunk(templates.Count).Select(MeanOfLengthOne)], model.LogitScale);
    }

    /// <summary>A classifier from class embeddings that were stored.</summary>
    /// <param name="labels">At least one, distinct, none empty.</param>
    /// <param name="templates">What the embeddings were made with.</param>
    /// <param name="classEmbeddings">One row per label, all of one width; brought to length 1.</param>
    /// <param name="logitScale">More than 0.</param>
    /// <exception cref="ArgumentException">Labels, templates or embeddings are not as said.</exception>
    public static ZeroShotClassifier FromEmbeddings(
        IReadOnlyList<string> labels, IReadOnlyList<string> templates, IReadOnlyList<ReadOnlyMemory<float>> classEmbeddings,
        float logitScale)
    {
        Check(labels, templates);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(logitScale);
        if (classEmbeddings.Count != labels.Count || classEmbeddings.Any(c => c.Length != classEmbeddings[0].Length))
            throw new ArgumentException($"classEmbeddings must be one row of one width for each of {labels.Count} labels, "
                + $"but has the widths {string.Join(", ", classEmbeddings.Select(c => c.Length))}.", nameof(classEmbeddings));
        return new([.. labels], [.. templates], [.. classEmbeddings.Select(c => MeanOfLengthOne([c.ToArray()]))], logitScale);
    }

    /// <summary>How probable each label is: softmax(logitScale * cosine).</summary>
    /// <param name="embedding">E values of any length but 0: a picture's or another text's embedding.</param>
    /// <returns>One probability per label, in the order of <see cref="Labels"/>; their sum is 1.</returns>
    /// <exception cref="ArgumentException">The embedding has another width.</exception>
    public float[] Probabilities(ReadOnlySpan<float> embedding)
    {
        int width = _classes[0].Length;
        if (embedding.Length != width)
            throw new ArgumentException($"the embedding must have {width} values, but has {embedding.Length}.", nameof(embedding));
        float length = MathF.Max(TensorPrimitives.Norm(embedding), MinLength);
        var logits = new float[_classes.Length];
        for (int i = 0; i < logits.Length; i++) logits[i] = LogitScale * TensorPrimitives.Dot(embedding, _classes[i]) / length;
        TensorPrimitives.Subtract(logits, TensorPrimitives.Max(logits), logits); // so that no exponential overflows
        TensorPrimitives.SoftMax<float>(logits, logits);
        return logits;
    }

    static float[] MeanOfLengthOne(float[][] rows)
    {
        var mean = new float[rows[0].Length];
        foreach (float[] row in rows)
            TensorPrimitives.MultiplyAdd(row, 1 / MathF.Max(TensorPrimitives.Norm<float>(row), MinLength), mean, mean);
        TensorPrimitives.Divide(mean, MathF.Max(TensorPrimitives.Norm<float>(mean), MinLength), mean);
        return mean;
    }

    static void Check(IReadOnlyList<string> labels, IReadOnlyList<string> templates)
    {
        if (labels.Count == 0) throw new ArgumentException("labels must have at least one entry.", nameof(labels));
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (string label in labels)
        {
            if (string.IsNullOrWhiteSpace(label)) throw new ArgumentException("labels must not be empty, but one is.", nameof(labels));
            if (!seen.Add(label))
                throw new ArgumentException($"labels must be distinct, but '{label}' is there twice.", nameof(labels));
        }
        if (templates.Count == 0)
            throw new ArgumentException(
                "templates must have at least one entry, for example \"a photo of a {}.\".", nameof(templates));
        foreach (string template in templates)
            if (!template.Contains(Slot, StringComparison.Ordinal))
                throw new ArgumentException(
                    $"templates must contain {{}} in place of the label, but '{template}' does not.", nameof(templates));
    }
}
