using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Pictures and their captions, decoded and shrunk: what an epoch is drawn from.</summary>
sealed class PairSet : IDisposable
{
    PictureStore? _pictures;
    readonly List<string[]> _captions = [];
    readonly List<int> _groups = [];
    readonly Dictionary<string, int> _groupIds = new(StringComparer.Ordinal);

    public int Count => _captions.Count;

    /// <summary>Names of the groups, by id.</summary>
    public IReadOnlyList<string> GroupNames => [.. _groupIds.Keys];

    /// <summary>The pictures, in the order of the rows; the set closes them.</summary>
    public PictureStore Pictures
    {
        get => _pictures ?? throw new InvalidOperationException("the set has no pictures yet.");
        set => _pictures = value;
    }

    public IReadOnlyList<string> Captions(int row) => _captions[row];

    /// <summary>Rows of one group belong together: their captions fit each other's pictures.</summary>
    public int Group(int row) => _groups[row];

    public void Add(string[] captions, string group)
    {
        if (!_groupIds.TryGetValue(group, out int id)) _groupIds.Add(group, id = _groupIds.Count);
        _captions.Add(captions);
        _groups.Add(id);
    }

    public void Dispose() => _pictures?.Dispose();
}

/// <summary>A batch ready for the engine.</summary>
/// <param name="Pixels">[B, 3, H, W].</param>
/// <param name="Ids">[U, L]: each distinct caption once.</param>
/// <param name="Length">L.</param>
/// <param name="Caption">[B]: which of the distinct captions a row has.</param>
/// <param name="Groups">[B].</param>
sealed record PairBatch(float[] Pixels, long[] Ids, int Length, long[] Caption, long[] Groups)
{
    public int Count => Caption.Length;

    public int DistinctCaptions => Ids.Length / Length;
}

/// <summary>Draws batches from a <see cref="PairSet"/>: a caption and a template per row, augmented pixels, token ids. Every
/// choice is a function
/// of seed, epoch and row, so that a resumed training sees just what the undisturbed one would have seen.</summary>
sealed class PairBatcher(PairSet set, IModelDefinition definition, ImagePreprocessing images, TextTokenizer texts, Augmentation augmentation,
    IReadOnlyList<string> templates, int seed)
{
    readonly Dictionary<string, IReadOnlyList<int>> _tokens = new(StringComparer.Ordinal);

    /// <summary>The captions as the texts that the model sees: every caption in every template.</summary>
    public static IEnumerable<string> Texts(IEnumerable<string> captions, IReadOnlyList<string> templates) =>
        captions.SelectMany(c => templates.Select(t => t.Replace("{}", c, StringComparison.Ordinal)));

    /// <summary>Makes one batch; not thread-safe, but may run on any thread.</summary>
    public PairBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int size = 3 * images.Height * images.Width;
        var pixels = new float[rows.Length * size];
        Parallel.For(0, rows.Length, new() { MaxDegreeOfParallelism = Math.Max(1, Environment.ProcessorCount / 2) }, i =>
        {
            int row = rows.Span[i];
            PictureStore pictures = set.Pictures;
            augmentation.Apply(pictures.Pixels(row), pictures.Height, pictures.Width, epoch, row, pixels.AsSpan(i * size, size));
        });

        var distinct = new Dictionary<string, int>(StringComparer.Ordinal);
        var caption = new long[rows.Length];
        var groups = new long[rows.Length];
        for (int i = 0; i < rows.Length; i++)
        {
            int row = rows.Span[i];
            string text = ChooseText(row, epoch);
            if (!distinct.TryGetValue(text, out int id)) distinct.Add(text, id = distinct.Count);
            (caption[i], groups[i]) = (id, set.Group(row));
        }
        IReadOnlyList<int>[] tokens = [.. distinct.Keys.Select(Tokens)];
        int length = definition.PaddedLength(tokens.Max(t => t.Count));
        var ids = new long[tokens.Length * length];
        for (int i = 0; i < tokens.Length; i++) texts.Pad(tokens[i], ids.AsSpan(i * length, length));
        return new(pixels, ids, length, caption, groups);
    }

    /// <summary>The text that a row has in an epoch.</summary>
    public string ChooseText(int row, int epoch)
    {
        IReadOnlyList<string> captions = set.Captions(row);
        int draw = EpochOrder.Seed(seed ^ 0x5EED, epoch, row);
        return templates[draw / captions.Count % templates.Count].Replace("{}", captions[draw % captions.Count], StringComparison.Ordinal);
    }

    /// <summary>The token ids of a text; not thread-safe.</summary>
    public IReadOnlyList<int> Tokens(string text)
    {
        if (!_tokens.TryGetValue(text, out IReadOnlyList<int>? tokens)) _tokens.Add(text, tokens = texts.Encode(text));
        return tokens;
    }
}
