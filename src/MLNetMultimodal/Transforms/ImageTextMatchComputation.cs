using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows whose pictures and texts are looked at together.</summary>
sealed class ImageTextMatchBatch(ImagePart image) : RowBatch
{
    public ImagePart Image => image;

    public ReadOnlyMemory<char>[] Texts { get; } = new ReadOnlyMemory<char>[image.Rows];

    public IReadOnlyList<int>[] Tokens { get; } = new IReadOnlyList<int>[image.Rows];

    public Exception?[] Errors { get; } = new Exception?[image.Rows];

    /// <summary>True where attention maps are asked for.</summary>
    public required bool WithAttention { get; init; }

    /// <summary>Of all slots, those with errors among them; null where no slot could be computed.</summary>
    public PairScores? Scores { get; set; }

    /// <summary>False where the scores are cosine similarities.</summary>
    public bool AreLogOdds { get; set; }

    /// <summary>[B][L * N].</summary>
    public float[][] Attention { get; } = new float[image.Rows][];
}

/// <summary>Says of each row whether picture and text belong together.</summary>
sealed class ImageTextMatchComputation : BatchComputation<ImageTextMatchBatch>
{
    /// <summary>Annotation of the attention column: patches of the picture.</summary>
    public const string PatchesAnnotation = "Patches";

    const int AttentionOutput = 4;

    readonly IHost _host;
    readonly ImageTextMatchOptions _options;
    readonly MultimodalModel _model;
    readonly ImageInput _image;
    readonly int _pixels;
    readonly float[] _noEmbedding;

    public ImageTextMatchComputation(IHost host, ImageTextMatchOptions options, MultimodalModel model)
    {
        (_host, _options, _model) = (host, options, model);
        _image = new(model, options.Image, options.ImageFolder, reducedScaleJpeg: false);
        _pixels = 3 * model.Images.Height * model.Images.Width;
        _noEmbedding = [.. Enumerable.Repeat(float.NaN, model.EmbeddingWidth)];
        List<OutputColumn> outputs =
        [
            new(options.Score, NumberDataViewType.Single),
            new(options.MatchProbability, NumberDataViewType.Single),
            new(options.ImageEmbedding, new VectorDataViewType(NumberDataViewType.Single, model.EmbeddingWidth)),
            new(options.TextEmbedding, new VectorDataViewType(NumberDataViewType.Single, model.EmbeddingWidth)),
        ];
        if (options.Attention is { } attention)
        {
            // One run tells how many patches there are, and that the model has maps at all.
            int patches = (int)model.MatchPairs(new float[_pixels], new long[1], 1, 1, withAttention: true).Attention!.Shape[3] - 1;
            var annotations = new DataViewSchema.Annotations.Builder();
            annotations.Add(PatchesAnnotation, NumberDataViewType.Int32, (ref int value) => value = patches);
            outputs.Add(new(attention, new VectorDataViewType(NumberDataViewType.Single), annotations.ToAnnotations()));
            outputs.Add(new(options.AttentionTokens, new VectorDataViewType(TextDataViewType.Instance)));
        }
        Outputs = outputs;
    }

    public override int BatchSize => _options.BatchSize;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) => [_image.Find(input), FindText(input)];

    DataViewSchema.Column FindText(DataViewSchema schema) => Columns.FindTexts(schema, _options.Text);

    public override ImageTextMatchBatch NewBatch(int rows, Func<int, bool> isActive) => new((ImagePart)_image.NewPart(rows))
    {
        WithAttention = _options.Attention is not null && isActive(AttentionOutput),
    };

    public override Action<ImageTextMatchBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<EmbedPart, int> image = _image.Reader(input);
        ValueGetter<ReadOnlyMemory<char>> text = input.GetGetter<ReadOnlyMemory<char>>(FindText(input.Schema));
        return (batch, slot) =>
        {
            image(batch.Image, slot);
            text(ref batch.Texts[slot]);
        };
    }

    public override void Prepare(ImageTextMatchBatch batch, int slot)
    {
        _image.Prepare(batch.Image, slot, batch.FirstRow + slot);
        (batch.Errors[slot], batch.Tokens[slot]) = (batch.Image.Error(slot), []);
        try
        {
            batch.Tokens[slot] = _model.Texts.Encode(batch.Texts[slot].ToString());
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            batch.Errors[slot] ??= new InvalidDataException(
                $"row {batch.FirstRow + slot}, column '{_options.Text}': the text cannot be tokenised: {e.Message}", e);
        }
    }

    public override void Run(ImageTextMatchBatch batch, int count)
    {
        batch.Scores = null;
        if (batch.Errors.AsSpan(0, count).IndexOf((Exception?)null) < 0) return;
        int length = _model.Definition.PaddedLength(batch.Tokens.Take(count).Max(t => t.Count));
        var ids = new long[count * length];
        for (int slot = 0; slot < count; slot++) _model.Texts.Pad(batch.Tokens[slot], ids.AsSpan(slot * length, length));
        batch.AreLogOdds = _model.MatchesPairs;
        batch.Scores = _model.MatchesPairs ? _model.MatchPairs(batch.Image.Pixels.AsMemory(0, count * _pixels), ids, count, length, batch.WithAttention)
            : Compare(batch, count);
        if (batch.Scores.Attention is not { } maps) return;
        ReadOnlySpan<float> values = maps.ToSingles();                                                  // [B, layers, L, 1 + N]
        int layers = (int)maps.Shape[1], tokens = (int)maps.Shape[3];
        for (int slot = 0; slot < count; slot++)
        {
            var mean = new float[batch.Tokens[slot].Count * (tokens - 1)];                              // [L, N], the class token left out
            for (int i = 0; i < mean.Length; i++)
                for (int layer = 0; layer < layers; layer++)
                    mean[i] += values[((slot * layers + layer) * length + i / (tokens - 1)) * tokens + 1 + i % (tokens - 1)] / layers;
            batch.Attention[slot] = mean;
        }
    }

    // A text at a time: not every family of dual encoders ignores what texts are filled up with.
    PairScores Compare(ImageTextMatchBatch batch, int count)
    {
        int width = _model.EmbeddingWidth;
        float[] images = new float[count * width], texts = new float[count * width], cosines = new float[count];
        _model.EmbedPixels(batch.Image.Pixels.AsMemory(0, count * _pixels), count, images);
        for (int slot = 0; slot < count; slot++)
        {
            IReadOnlyList<int> tokens = batch.Tokens[slot];
            if (tokens.Count == 0) continue; // could not be tokenised
            var ids = new long[_model.Definition.PaddedLength(tokens.Count)];
            _model.Texts.Pad(tokens, ids);
            Span<float> text = texts.AsSpan(slot * width, width);
            _model.EmbedIds(ids, 1, ids.Length, text);
            cosines[slot] = TensorPrimitives.Dot<float>(images.AsSpan(slot * width, width), text);
        }
        return new(cosines, images, texts, null);
    }

    public override Delegate Getter(int output, Func<(ImageTextMatchBatch Batch, int Slot)> current) => output switch
    {
        0 => (ValueGetter<float>)((ref float value) => value = Scores(current, out int slot)?.LogOdds[slot] ?? float.NaN),
        1 => (ValueGetter<float>)((ref float value) =>
            value = Scores(current, out int slot) is { } scores && current().Batch.AreLogOdds ? scores.Probability(slot) : float.NaN),
        2 => Embedding(current, scores => scores.ImageEmbeds),
        3 => Embedding(current, scores => scores.TextEmbeds),
        AttentionOutput => (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
            Columns.Fill<float>(ref value, Scores(current, out int slot) is null ? [] : current().Batch.Attention[slot])),
        _ => (ValueGetter<VBuffer<ReadOnlyMemory<char>>>)((ref VBuffer<ReadOnlyMemory<char>> value) =>
            Columns.Fill<ReadOnlyMemory<char>>(ref value, Scores(current, out int slot) is null ? []
                : [.. current().Batch.Tokens[slot].Select(id => _model.Texts.Decode([id]).AsMemory())])),
    };

    ValueGetter<VBuffer<float>> Embedding(Func<(ImageTextMatchBatch Batch, int Slot)> current, Func<PairScores, float[]> embeds) =>
        (ref VBuffer<float> value) => Columns.Fill(ref value, Scores(current, out int slot) is { } scores
            ? embeds(scores).AsSpan(slot * _noEmbedding.Length, _noEmbedding.Length) : _noEmbedding);

    /// <summary>The scores of the batch, null where the row's are missing.</summary>
    PairScores? Scores(Func<(ImageTextMatchBatch Batch, int Slot)> current, out int slot)
    {
        (ImageTextMatchBatch batch, slot) = current();
        return batch.Errors[slot] is not { } error ? batch.Scores : _options.OnError == OnError.Throw ? throw error : null;
    }

    public override int Failures(ImageTextMatchBatch batch, int count) =>
        _options.OnError == OnError.Throw ? 0 : batch.Errors.Take(count).Count(e => e is not null);

    public override void Report(long failures) =>
        Warn(_host, "MatchImageText", $"{failures} pictures or texts could not be read; their matches are missing.");
}
