using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference;

/// <summary>How a model is loaded.</summary>
public sealed record InferenceOptions
{
    /// <summary>What runs are arranged for; default <see cref="InferenceMode.Latency"/>.</summary>
    public InferenceMode Mode { get; init; }

    /// <summary>Threads that one run of the model uses; default 0, as <see cref="Mode"/> says.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 0.</exception>
    public int Threads
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value, nameof(Threads));
            field = value;
        }
    }

    internal int RunThreads => Threads > 0 ? Threads : Mode == InferenceMode.Throughput ? 1 : 0;

    /// <summary>True leaves 32-bit weights in the pages of their file, which all processes of the machine share. Default false:
    /// each process lays them out anew, for its own use; runs are then faster, the more so the smaller the batch.</summary>
    public bool ShareWeights { get; init; }

    /// <summary>Families that <c>model_type</c> is looked up in; default <see cref="ModelFamilies.BuiltIn"/>. One's own is put
    /// beside them.</summary>
    public IReadOnlyList<ModelFamily> Families { get; init; } = ModelFamilies.BuiltIn;

    /// <summary>How weights are stored in what runs. Default null: 32-bit floats; in a folder that holds graphs only, of each
    /// graph the first that is there in the order of <see cref="OnnxDtype"/> (<see cref="MultimodalModel.GraphFiles"/> says
    /// which). A folder with weights runs as <see cref="OnnxExport.Dtypes"/>.</summary>
    public OnnxDtype? Dtype { get; init; }

    /// <summary>Low-rank adapters that are added to the folder's weights, such as
    /// <c>LoraAdapter.Load("path/to/adapter")</c>; default null, none. Layers without one stay mapped to the file.</summary>
    public LoraAdapter? Adapter { get; init; }
}

/// <summary>What the runs of a model are arranged for.</summary>
public enum InferenceMode
{
    /// <summary>The single result comes soonest: a run uses all cores. For one caller at a time.</summary>
    Latency,

    /// <summary>The most results per second: a run uses one core, and callers run side by side, as the transforms do. However many
    /// models and callers a process has, no more runs are under way than there are cores; others wait.</summary>
    Throughput,
}

/// <summary>A model folder, loaded: pictures and texts become embeddings. Encoders are built when first used, so that a program
/// that embeds only texts never builds the image encoder. A folder that is loaded twice, with equal options and unchanged, shares
/// weights and sessions. Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class MultimodalModel : IDisposable
{
    const int ImageBatch = 8; // larger batches gain nothing on a CPU
    const int TextBatch = 32;
    const string PreprocessorFile = "preprocessor_config.json";

    readonly LoadedModels.Lease _lease;
    readonly Lazy<ImagePreprocessing> _images;
    readonly Lazy<TextTokenizer> _texts;

    MultimodalModel(ModelFiles files, InferenceOptions options)
    {
        (Files, Dtype, Adapter) = (files, options.Dtype, options.Adapter);
        _images = new(ReadImagePreprocessing);
        _texts = new(ReadTokenizer);
        _lease = LoadedModels.Rent(files, options, () => GraphFolder.Matches(files)
            ? GraphFolder.Open(files, options, () => Texts) : ModelRuntime.FromWeights(files, options));
    }

    ModelRuntime Runtime => _lease.Runtime;

    /// <summary>Loads a model folder in the Hugging Face layout: <c>config.json</c> and <c>model.safetensors</c>, and
    /// <c>preprocessor_config.json</c> and a tokenizer where pictures and texts are embedded. The weights stay mapped to the file
    /// until <see cref="Dispose"/>. A folder without weights runs its graphs, of any family: <c>vision_model.onnx</c> and
    /// <c>text_model.onnx</c>, or one <c>model.onnx</c>, in <c>onnx/</c> or beside config.json.</summary>
    /// <param name="folder">The folder, or a model of the hub, <c>hub:owner/name</c> or <c>hub:owner/name@revision</c>, which is
    /// downloaded where the cache does not have it (<see cref="ModelFiles.FromFolder"/>).</param>
    /// <param name="options">Threads, families, dtype, adapter; null for the defaults.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">config.json is missing, or both weights and graphs of the wanted dtype
    /// are.</exception>
    /// <exception cref="InvalidDataException">A file is not sound, or weights are missing, surplus or of another shape: one
    /// message names them all. Or the adapter is for other layers than the model has.</exception>
    /// <exception cref="NotSupportedException">The family is unknown; the message lists those known. Or there is an adapter, but
    /// no weights.</exception>
    /// <exception cref="IOException">The hub does not give the model.</exception>
    public static MultimodalModel Load(string folder, InferenceOptions? options = null) =>
        Load(ModelFiles.FromFolder(folder), options);

    /// <summary>Loads the files of a model, from a folder or from memory.</summary>
    /// <param name="files">The files.</param>
    /// <param name="options">Threads, families, dtype, adapter; null for the defaults.</param>
    /// <inheritdoc cref="Load(string, InferenceOptions?)" path="/exception"/>
    public static MultimodalModel Load(ModelFiles files, InferenceOptions? options = null) =>
        new(files, options ?? new());

    /// <summary>The folder's path or the name on the hub, as given, or the name that files in memory have.</summary>
    public string Name => Files.Name;

    /// <summary>The files it was loaded from.</summary>
    public ModelFiles Files { get; }

    /// <summary>Its programs and sizes.</summary>
    public IModelDefinition Definition => Runtime.Definition;

    /// <summary>The files of the folder that it runs: graphs, and weights that lie beside them, such as
    /// <c>onnx/text_model_quantized.onnx</c>, in ordinal order; none where the folder has weights of its own.</summary>
    public IReadOnlyList<string> GraphFiles => Runtime.GraphFiles.Value;

    /// <summary>E, the width of embeddings.</summary>
    public int EmbeddingWidth => Definition.EmbeddingWidth;

    /// <summary>The dtype that was asked for; null for the default.</summary>
    public OnnxDtype? Dtype { get; }

    /// <summary>The adapter that was added to the weights; null for none.</summary>
    public LoraAdapter? Adapter { get; }

    /// <summary>Writes its weights in the format of safetensors, with the adapter in them; but for modules with files of their
    /// own.</summary>
    /// <param name="stream">Where to.</param>
    /// <exception cref="NotSupportedException">The folder holds recorded graphs only.</exception>
    public void WriteWeights(Stream stream)
    {
        string[] elsewhere = [.. SentenceTransformer.WeightFolders(Files).Select(folder => $"{folder}.")];
        Safetensors.Write(stream, Weights.Where(w => !elsewhere.Any(f => w.Key.StartsWith(f, StringComparison.Ordinal))),
            new Dictionary<string, string> { ["format"] = "pt" });
    }

    internal IReadOnlyDictionary<string, TensorData> Weights => Runtime.Weights?.Values ?? throw GraphModel.NoProgram(Name);

    /// <summary>The senses it has encoders for.</summary>
    public IReadOnlyList<Modality> Modalities => [.. Runtime.Encoders.Keys.Order()];

    /// <summary>What cosine similarities are multiplied with before a softmax, more than 0; 1 for a family that has no such
    /// scale. Recorded graphs hold it in <c>model.onnx</c>, which is run once to find it; two towers alone do not, and have
    /// 1.</summary>
    public float LogitScale => Runtime.LogitScale.Value;

    /// <summary>How pictures become <c>pixel_values</c>; read from the model's files when first used
    /// (<see cref="ImagePreprocessing.TryLoad"/>).</summary>
    /// <exception cref="FileNotFoundException">The model has no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not sound, or makes pictures of another size than the model
    /// takes.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public ImagePreprocessing Images => _images.Value;

    /// <summary>How texts become <c>input_ids</c>; read from the tokenizer's files when first used.</summary>
    /// <exception cref="FileNotFoundException">The model has no tokenizer.</exception>
    /// <exception cref="InvalidDataException">The tokenizer's files are not sound.</exception>
    public TextTokenizer Texts => _texts.Value;

    /// <summary>Embeds normalised pixels.</summary>
    /// <param name="pixels">[B, C, H, W], as <see cref="Images"/> makes them.</param>
    /// <param name="count">B; 0 does nothing.</param>
    /// <param name="embeds">[B, E]: rows of length 1.</param>
    /// <exception cref="ArgumentException">A span has another number of elements.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public void EmbedPixels(ReadOnlyMemory<float> pixels, int count, Span<float> embeds)
    {
        IEncoder encoder = Encoder(Modality.Image);
        Dim[] picture = Definition.Encoders[Modality.Image].Inputs[0].Shape[1..];
        if (count > 0) encoder.Run(pixels, [count, .. picture.Select(d => (long)d.Size)], embeds);
    }

    /// <summary>Embeds token ids.</summary>
    /// <param name="ids">[B, L], as <see cref="Texts"/> makes them; each in the vocabulary.</param>
    /// <param name="count">B; 0 does nothing.</param>
    /// <param name="length">L, at most the model's context length.</param>
    /// <param name="embeds">[B, E]: rows of length 1.</param>
    /// <exception cref="ArgumentException">A span has another number of elements.</exception>
    /// <exception cref="InvalidOperationException">The texts are too long, or an id is not in the vocabulary.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for texts.</exception>
    public void EmbedIds(ReadOnlyMemory<long> ids, int count, int length, Span<float> embeds)
    {
        IEncoder encoder = Encoder(Modality.Text);
        if (count > 0) encoder.Run(ids, [count, length], embeds);
    }

    /// <summary>Embeds pictures, in batches, preprocessed on all cores.</summary>
    /// <param name="images">The pictures, of any size.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <returns>One row of E values and length 1 per picture, in order.</returns>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public float[][] EmbedImages(IReadOnlyList<RgbImage> images, CancellationToken cancellation = default) =>
        EmbedImages(images.Count, (i, pixels) => Images.Apply(images[i], pixels), cancellation);

    /// <summary>Embeds picture files, in batches, decoded and preprocessed on all cores.</summary>
    /// <param name="paths">The files.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <returns>One row of E values and length 1 per file, in order.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file is no picture; the message names it.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public float[][] EmbedImages(IReadOnlyList<string> paths, CancellationToken cancellation = default) =>
        EmbedImages(paths.Count, (i, pixels) => Images.ApplyToFile(paths[i], pixels), cancellation);

    delegate void PixelFiller(int image, Span<float> pixels);

    float[][] EmbedImages(int count, PixelFiller fill, CancellationToken cancellation)
    {
        Require(Modality.Image);
        int size = 3 * Images.Height * Images.Width;
        var pixels = new float[Math.Min(count, ImageBatch) * size];
        var result = new float[count][];
        for (int start = 0; start < count; start += ImageBatch)
        {
            cancellation.ThrowIfCancellationRequested();
            int batch = Math.Min(ImageBatch, count - start), first = start;
            Apply(batch, i => fill(first + i, pixels.AsSpan(i * size, size)), cancellation);
            var embeds = new float[batch * EmbeddingWidth];
            EmbedPixels(pixels.AsMemory(0, batch * size), batch, embeds);
            embeds.Chunk(EmbeddingWidth).ToArray().CopyTo(result, start);
        }
        return result;
    }

    /// <summary>A loop on all cores whose first error comes out as it is.</summary>
    static void Apply(int count, Action<int> body, CancellationToken cancellation)
    {
        try
        {
            Parallel.For(0, count, new() { CancellationToken = cancellation }, body);
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    /// <summary>Embeds texts, in batches, each distinct text once. Each is cut to the tokenizer's context length.</summary>
    /// <param name="texts">The texts.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <returns>One row of E values and length 1 per text, in order; each an array of its own.</returns>
    /// <exception cref="NotSupportedException">The model has no encoder for texts.</exception>
    public float[][] EmbedTexts(IReadOnlyList<string> texts, CancellationToken cancellation = default)
    {
        Require(Modality.Text);
        var rows = new Dictionary<string, float[]>(StringComparer.Ordinal);
        string[] distinct = [.. texts.Distinct(StringComparer.Ordinal)];
        int[] lengths = [.. distinct.Select(text => Texts.Encode(text).Count)];
        // Texts of one length run together, so that no family computes more padding than it must see.
        foreach (IGrouping<int, int> group in Enumerable.Range(0, lengths.Length).GroupBy(i => Definition.PaddedLength(lengths[i])))
            foreach (int[] batch in group.Chunk(TextBatch))
            {
                cancellation.ThrowIfCancellationRequested();
                var ids = new long[batch.Length * group.Key];
                Texts.EncodeBatch([.. batch.Select(i => distinct[i])], group.Key, ids, []);
                var embeds = new float[batch.Length * EmbeddingWidth];
                EmbedIds(ids, batch.Length, group.Key, embeds);
                for (int i = 0; i < batch.Length; i++)
                    rows.Add(distinct[batch[i]], embeds[(i * EmbeddingWidth)..((i + 1) * EmbeddingWidth)]);
            }
        var handedOut = new HashSet<string>(StringComparer.Ordinal);
        return [.. texts.Select(text => handedOut.Add(text) ? rows[text] : [.. rows[text]])];
    }

    /// <summary>Runs tensors through the model: all of it where all its inputs are given, else the encoders whose inputs are
    /// given.</summary>
    /// <param name="inputs">Tensors by name, such as <c>pixel_values</c> and <c>input_ids</c>; others are left aside.</param>
    /// <returns>The outputs by name, such as <c>image_embeds</c>.</returns>
    /// <exception cref="ArgumentException">The inputs are enough for no encoder, or one has another type or shape.</exception>
    public IReadOnlyDictionary<string, TensorData> Run(IReadOnlyDictionary<string, TensorData> inputs)
    {
        bool Given(IProgram program) => program.Inputs.All(i => inputs.ContainsKey(i.Name));
        ObjectDisposedException.ThrowIf(_lease.IsReleased, this);
        if (Given(Definition.Full)) return Runtime.RunFull(inputs);
        Modality[] given = [.. Modalities.Where(m => Given(Definition.Encoders[m]))];
        return given.Length > 0
            ? given.SelectMany(m => Encoder(m).Run(inputs)).ToDictionary(StringComparer.Ordinal)
            : throw new ArgumentException(
                $"'{Name}' takes {string.Join(", ", Definition.Full.Inputs)}; given are {string.Join(", ", inputs.Keys)}.",
                nameof(inputs));
    }

    internal IEncoder Encoder(Modality modality)
    {
        Require(modality);
        ObjectDisposedException.ThrowIf(_lease.IsReleased, this);
        return Runtime.Encoders[modality]();
    }

    void Require(Modality modality)
    {
        if (!Runtime.Encoders.ContainsKey(modality))
            throw new NotSupportedException($"'{Name}' has no {modality} encoder; it has {string.Join(", ", Modalities)}.");
    }

    TextTokenizer ReadTokenizer()
    {
        Require(Modality.Text);
        TextTokenizer texts = TextTokenizer.Load(Files.TryRead, Files.Name);
        texts = texts.WithContextLength(Math.Min(texts.ContextLength, Definition.ContextLength ?? int.MaxValue));
        return Definition.TextPrompt is { Length: > 0 } prompt ? texts.WithPrompt(prompt) : texts;
    }

    ImagePreprocessing ReadImagePreprocessing()
    {
        Require(Modality.Image);
        ImagePreprocessing images = ImagePreprocessing.TryLoad(Files.TryRead) ?? throw new FileNotFoundException(
            $"'{Name}' has no {PreprocessorFile}; it says how pictures are made for the model.");
        Dim[] wanted = Definition.Encoders[Modality.Image].Inputs[0].Shape;
        return images.Height == wanted[2].Size && images.Width == wanted[3].Size ? images : throw new InvalidDataException(
            $"{PreprocessorFile} of '{Name}' makes pictures of {images.Height}x{images.Width}, "
            + $"but config.json wants {wanted[2]}x{wanted[3]}.");
    }

    /// <summary>Lets go of the sessions and the weights; they are closed when no other model of the same folder has them. No other
    /// call on this model may be under way.</summary>
    public void Dispose() => _lease.Dispose();
}
