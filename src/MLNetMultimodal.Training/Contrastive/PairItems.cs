using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Items of one sense, ready for the engine.</summary>
/// <param name="Values">Single or Int64, row-major.</param>
/// <param name="Shape">[U, ..].</param>
/// <param name="Item">[B]: which of the U items a row has; null where each row has its own.</param>
sealed record ItemBatch(Array Values, long[] Shape, long[]? Item = null)
{
    public Tensor ToTensor(Device device) => (Values is float[] numbers ? tensor(numbers, Shape) : tensor((long[])Values, Shape)).to(device);
}

/// <summary>What one column of the pairs holds, for all rows. Every choice is a function of seed, epoch and row, so that a resumed
/// training sees just what the undisturbed one would have seen.</summary>
abstract class PairItems : IDisposable
{
    /// <summary>Threads that prepare a batch while the engine computes the one before.</summary>
    static readonly ParallelOptions s_beside = new() { MaxDegreeOfParallelism = Math.Max(1, Environment.ProcessorCount / 2) };

    public abstract Modality Modality { get; }

    /// <summary>Items of some rows, varied for a step of training. One call at a time, on any thread.</summary>
    public abstract ItemBatch Make(ReadOnlyMemory<int> rows, int epoch);

    /// <summary>All items of some rows as they are.</summary>
    public abstract ItemBatch Plain(IReadOnlyList<int> rows);

    public abstract void Dispose();

    private protected delegate void Filler(int i, Span<float> values);

    private protected static void ForEach(int count, bool beside, Action<int> prepare) => Parallel.For(0, count, beside ? s_beside : new(), prepare);

    private protected static ItemBatch Fill(int count, long[] shape, bool beside, Filler fill)
    {
        int size = (int)shape.Aggregate(1L, (n, d) => n * d);
        var values = new float[count * size];
        ForEach(count, beside, i => fill(i, values.AsSpan(i * size, size)));
        return new(values, [count, .. shape]);
    }
}

/// <summary>Pictures at the model's size.</summary>
sealed class PairPictures(PictureStore store, ImagePreprocessing images, AugmentationOptions options, int seed) : PairItems
{
    readonly Augmentation _augmentation = Augmentation.For(images, options, seed);

    public PictureStore Store => store;

    public override Modality Modality => Modality.Image;

    long[] Shape => [3, images.Height, images.Width];

    public override ItemBatch Make(ReadOnlyMemory<int> rows, int epoch) => Fill(rows.Length, Shape, beside: true, (i, pixels) =>
    {
        int row = rows.Span[i];
        _augmentation.Apply(store.Pixels(row), store.Height, store.Width, epoch, row, pixels);
    });

    public override ItemBatch Plain(IReadOnlyList<int> rows) =>
        Fill(rows.Count, Shape, beside: false, (i, pixels) => images.Normalize(store.Picture(rows[i]), pixels));

    public override void Dispose() => store.Dispose();
}

/// <summary>Sounds, one channel each at the model's rate.</summary>
/// <remarks>A model that takes samples sees a batch as long as its longest sound, shorter ones followed by silence.</remarks>
sealed class PairSounds(IReadOnlyList<Waveform> sounds, AudioPreprocessing preprocessing, AudioAugmentationOptions options, int seed) : PairItems
{
    readonly AudioAugmentation _augmentation = new(options, preprocessing, seed);

    public override Modality Modality => Modality.Audio;

    public override ItemBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        var values = new float[rows.Length][];
        ForEach(rows.Length, beside: true, i => values[i] = _augmentation.Apply(sounds[rows.Span[i]], epoch, rows.Span[i]));
        return Joined(values);
    }

    public override ItemBatch Plain(IReadOnlyList<int> rows)
    {
        var values = new float[rows.Count][];
        ForEach(rows.Count, beside: false, i => values[i] = preprocessing.Apply(sounds[rows[i]]));
        return Joined(values);
    }

    public override void Dispose() { }

    ItemBatch Joined(float[][] values)
    {
        int longest = values.Max(v => v.Length);
        return Fill(values.Length, [.. preprocessing.Shape(longest)], beside: false, (i, to) => values[i].CopyTo(to));
    }
}

/// <summary>Captions: each epoch a row has one of its own, in one of the templates.</summary>
sealed class PairTexts(IReadOnlyList<string[]> captions, TextTokenizer texts, IModelDefinition definition, IReadOnlyList<string> templates, int seed)
    : PairItems
{
    readonly Dictionary<string, IReadOnlyList<int>> _tokens = new(StringComparer.Ordinal);

    public override Modality Modality => Modality.Text;

    /// <summary>The captions as the texts that the model sees: every caption in every template.</summary>
    public static IEnumerable<string> InTemplates(IEnumerable<string> captions, IReadOnlyList<string> templates) =>
        captions.SelectMany(c => templates.Select(t => t.Replace("{}", c, StringComparison.Ordinal)));

    /// <summary>Each distinct text once.</summary>
    public override ItemBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        var distinct = new Dictionary<string, int>(StringComparer.Ordinal);
        var item = new long[rows.Length];
        for (int i = 0; i < rows.Length; i++)
        {
            string text = Choose(rows.Span[i], epoch);
            if (!distinct.TryGetValue(text, out int id)) distinct.Add(text, id = distinct.Count);
            item[i] = id;
        }
        return Ids([.. distinct.Keys]) with { Item = item };
    }

    /// <summary>Every caption of the rows in every template, each text once.</summary>
    public override ItemBatch Plain(IReadOnlyList<int> rows) => Ids(
        [.. InTemplates(rows.SelectMany(r => captions[r]).Distinct().Order(StringComparer.Ordinal), templates)]);

    public override void Dispose() { }

    /// <summary>The token ids of texts.</summary>
    public ItemBatch Ids(IReadOnlyList<string> distinct)
    {
        IReadOnlyList<int>[] tokens = [.. distinct.Select(Tokens)];
        int length = definition.PaddedLength(tokens.Max(t => t.Count));
        var ids = new long[tokens.Length * length];
        for (int i = 0; i < tokens.Length; i++) texts.Pad(tokens[i], ids.AsSpan(i * length, length));
        return new(ids, [tokens.Length, length]);
    }

    /// <summary>The text that a row has in an epoch.</summary>
    public string Choose(int row, int epoch)
    {
        int draw = EpochOrder.Seed(seed ^ 0x5EED, epoch, row);
        return templates[draw / captions[row].Length % templates.Count].Replace("{}", captions[row][draw % captions[row].Length], StringComparison.Ordinal);
    }

    IReadOnlyList<int> Tokens(string text)
    {
        lock (_tokens) // a validation may run while the next batch is made
        {
            if (!_tokens.TryGetValue(text, out IReadOnlyList<int>? tokens)) _tokens.Add(text, tokens = texts.Encode(text));
            return tokens;
        }
    }
}
