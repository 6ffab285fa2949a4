using System.Buffers;
using System.Numerics.Tensors;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Media.Video;
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

    /// <summary>Where it gains something, and takes no more memory than the weights of the file.</summary>
    internal bool FusesAttention => Mode == InferenceMode.Latency && !ShareWeights && Dtype is null or OnnxDtype.Fp32 or OnnxDtype.Fp16;

    /// <summary>True leaves 32-bit weights in the pages of their file, which all processes of the machine share. Default false:
    /// each process lays them out anew, for its own use; runs are then faster, the more so the smaller the batch. With
    /// <see cref="GraphCacheFolder"/> processes share weights that are laid out.</summary>
    public bool ShareWeights { get; init; }

    /// <summary>Folder in which prepared graphs are kept, so that later processes start sooner and share the weights' pages; null, the
    /// default, for the environment variable <c>MULTIMODAL_GRAPH_CACHE</c>, else none; empty for none. A graph is found by the hash
    /// of its weights, of this library and of the processor, and takes once to twice the space of its weights; nothing is ever
    /// removed, and all may be. What is there is trusted like the program itself.</summary>
    public string? GraphCacheFolder { get; init; }

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
    /// <summary>The single result comes soonest: a run uses all cores, and self-attention is one operator. For one caller at a time. Single
    /// texts of a causal tower (CLIP's) have a graph of their own, whose weights take memory beside those of the graph for batches where
    /// a program embeds both.</summary>
    Latency,

    /// <summary>The most results per second: a run uses one core, and callers run side by side, as the transforms do. However many
    /// models and callers a process has, no more runs are under way than there are cores; others wait.</summary>
    Throughput,
}

/// <summary>A model folder, loaded: pictures, texts and sounds become embeddings. Encoders are built when first used, so that a program
/// that embeds only texts never builds the image encoder. A folder that is loaded twice, with equal options and unchanged, shares
/// weights and sessions. Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class MultimodalModel : IDisposable
{
    const int MediaBatch = 8; // larger batches gain nothing on a CPU
    const int TextBatch = 32;
    const string PreprocessorFile = "preprocessor_config.json";

    readonly LoadedModels.Lease _lease;
    readonly int _sideBySide; // batches that run at once
    readonly Lazy<ImagePreprocessing> _images;
    readonly Lazy<TextTokenizer> _texts;
    readonly Lazy<AudioPreprocessing> _sounds;
    readonly Lazy<FrameSampling> _videos;

    MultimodalModel(ModelFiles files, InferenceOptions options)
    {
        (Files, Dtype, Adapter) = (files, options.Dtype, options.Adapter);
        _sideBySide = options.Mode == InferenceMode.Throughput ? Environment.ProcessorCount : 1;
        _images = new(ReadImagePreprocessing);
        _texts = new(ReadTokenizer);
        _sounds = new(ReadAudioPreprocessing);
        _videos = new(() => FrameSampling.TryLoad(files.TryRead) ?? FrameSampling.Clip4Clip);
        _lease = LoadedModels.Rent(files, options, () => GraphFolder.Matches(files)
            ? GraphFolder.Open(files, options, () => Texts) : ModelRuntime.FromWeights(files, options));
    }

    ModelRuntime Runtime => _lease.Runtime;

    /// <summary>Loads a model folder in the Hugging Face layout: <c>config.json</c> and <c>model.safetensors</c>, and
    /// <c>preprocessor_config.json</c> and a tokenizer where pictures, sounds and texts are embedded. The weights stay mapped to
    /// the file until <see cref="Dispose"/>. A folder without weights runs its graphs, of any family: <c>vision_model.onnx</c>
    /// and <c>text_model.onnx</c>, or one <c>model.onnx</c>, in <c>onnx/</c> or beside config.json.</summary>
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

    /// <summary>How sounds become what the audio encoder takes; read from the model's files when first used
    /// (<see cref="AudioPreprocessing.TryLoad"/>).</summary>
    /// <exception cref="FileNotFoundException">The model has no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not sound, or makes something else of sounds than the model
    /// takes.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for sounds.</exception>
    public AudioPreprocessing Sounds => _sounds.Value;

    /// <summary>Which frames of a video the picture encoder is shown; read from the model's files when first used
    /// (<see cref="FrameSampling.TryLoad"/>), else <see cref="FrameSampling.Clip4Clip"/>.</summary>
    /// <exception cref="InvalidDataException">The file is not sound.</exception>
    public FrameSampling Videos => _videos.Value;

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

    /// <summary>Embeds spectrograms, or samples where the model takes those.</summary>
    /// <param name="values">[B, T, F], [B, F, T] or [B, T], as <see cref="Sounds"/> makes them; all of one length.</param>
    /// <param name="count">B; 0 does nothing.</param>
    /// <param name="embeds">[B, E]: rows of length 1.</param>
    /// <exception cref="ArgumentException">A span has another number of elements.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for sounds.</exception>
    public void EmbedAudioValues(ReadOnlyMemory<float> values, int count, Span<float> embeds)
    {
        IEncoder encoder = Encoder(Modality.Audio);
        if (count == 0) return;
        if (values.Length % count != 0)
            throw new ArgumentException(
                $"values has {values.Length} elements, which are not {count} sounds of one length.", nameof(values));
        Dim[] sound = Definition.Encoders[Modality.Audio].Inputs[0].Shape[1..];
        encoder.Run(values, [count, .. sound.Select(d => d.IsKnown ? d.Size : (long)values.Length / count)], embeds);
    }

    /// <summary>Embeds pictures, in batches, on all cores.</summary>
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

    /// <summary>Embeds video files by their frames (<see cref="Videos"/>): the mean of what the picture encoder makes of each,
    /// brought to length 1, as CLIP4Clip pools frames (Luo et al. 2021, arXiv:2104.08860, section 3.3) and ImageBind clips
    /// (Girdhar et al. 2023, arXiv:2305.05665).</summary>
    /// <param name="paths">The files, which ffmpeg decodes.</param>
    /// <param name="cancellation">Ends the work between two frames.</param>
    /// <returns>One row of E values and length 1 per file, in order.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file is no video, or is cut off, or ffmpeg is missing; the message names the
    /// file.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public float[][] EmbedVideos(IReadOnlyList<string> paths, CancellationToken cancellation = default)
    {
        Require(Modality.Image);
        var result = new float[paths.Count][];
        Apply(paths.Count, _sideBySide, i =>
        {
            ReadOnlyMemory<float> pixels = FramePixels(Videos.Frames(paths[i], cancellation: cancellation), out int frames);
            result[i] = new float[EmbeddingWidth];
            EmbedFramePixels(pixels, frames, result[i]);
        }, cancellation);
        return result;
    }

    /// <summary>Preprocesses the frames of a video one after the other, as they come.</summary>
    /// <param name="frames">The pictures, of any size.</param>
    /// <param name="count">T, how many there were.</param>
    /// <returns>[T, C, H, W].</returns>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public ReadOnlyMemory<float> FramePixels(IEnumerable<RgbImage> frames, out int count)
    {
        int size = 3 * Images.Height * Images.Width;
        var pixels = new ArrayBufferWriter<float>();
        foreach (RgbImage frame in frames)
        {
            Images.Apply(frame, pixels.GetSpan(size)[..size]);
            pixels.Advance(size);
        }
        count = pixels.WrittenCount / size;
        return pixels.WrittenMemory;
    }

    /// <summary>Embeds a video of which the frames' normalised pixels are there, as <see cref="EmbedVideos"/> does.</summary>
    /// <param name="pixels">[T, C, H, W], as <see cref="Images"/> makes them of each frame.</param>
    /// <param name="frames">T, at least 1.</param>
    /// <param name="embed">[E], of length 1.</param>
    /// <exception cref="ArgumentException">A span has another number of elements.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for pictures.</exception>
    public void EmbedFramePixels(ReadOnlyMemory<float> pixels, int frames, Span<float> embed)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(frames);
        if (embed.Length != EmbeddingWidth)
            throw new ArgumentException($"embed must have {EmbeddingWidth} elements, but has {embed.Length}.", nameof(embed));
        int size = pixels.Length / frames;
        var embeds = new float[Math.Min(frames, MediaBatch) * EmbeddingWidth];
        embed.Clear();
        for (int first = 0; first < frames; first += MediaBatch)
        {
            int count = Math.Min(MediaBatch, frames - first);
            EmbedPixels(pixels.Slice(first * size, count * size), count, embeds.AsSpan(0, count * EmbeddingWidth));
            for (int i = 0; i < count; i++) TensorPrimitives.Add(embed, embeds.AsSpan(i * EmbeddingWidth, EmbeddingWidth), embed);
        }
        TensorPrimitives.Divide(embed, Math.Max(TensorPrimitives.Norm<float>(embed), float.Epsilon), embed);
    }

    /// <summary>Embeds sounds, in batches, on all cores.</summary>
    /// <param name="sounds">The sounds, at any rate, of any number of channels; of a long one the first
    /// <see cref="AudioPreprocessing.MaxSamples"/> are heard.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <returns>One row of E values and length 1 per sound, in order.</returns>
    /// <exception cref="ArgumentException">A sound is too short for the model, or too loud.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for sounds.</exception>
    public float[][] EmbedAudio(IReadOnlyList<Waveform> sounds, CancellationToken cancellation = default) =>
        EmbedAudio(sounds.Count, i => Sounds.Apply(sounds[i]), cancellation);

    /// <summary>Embeds sound files, in batches, decoded and preprocessed on all cores.</summary>
    /// <param name="paths">The files: WAV and AIFF, and where ffmpeg is installed any other, also the sound of videos; of a long
    /// one the first <see cref="AudioPreprocessing.MaxSamples"/> are read.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <returns>One row of E values and length 1 per file, in order.</returns>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file holds no sound, or one too short for the model; the message names
    /// it.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for sounds.</exception>
    public float[][] EmbedAudio(IReadOnlyList<string> paths, CancellationToken cancellation = default) =>
        EmbedAudio(paths.Count, i => Sounds.ApplyToFile(paths[i], cancellation), cancellation);

    float[][] EmbedAudio(int count, Func<int, float[]> preprocess, CancellationToken cancellation)
    {
        Require(Modality.Audio);
        return InBatches(count, Even(count), (first, batch) =>
        {
            var values = new float[batch][];
            Prepare(batch, i => values[i] = preprocess(first + i), cancellation);
            return EmbedAudioValues(values);
        }, cancellation);
    }

    /// <summary>Embeds what <see cref="Sounds"/> makes of sounds; those of one length run together, so that no sound is filled
    /// up.</summary>
    /// <param name="values">For each sound its values.</param>
    /// <returns>One row of E values and length 1 per sound, in order.</returns>
    /// <exception cref="NotSupportedException">The model has no encoder for sounds.</exception>
    public float[][] EmbedAudioValues(IReadOnlyList<float[]> values)
    {
        var result = new float[values.Count][];
        foreach (IGrouping<int, int> group in Enumerable.Range(0, values.Count).GroupBy(i => values[i].Length))
        {
            int[] together = [.. group];
            var embeds = new float[together.Length * EmbeddingWidth];
            EmbedAudioValues(together.SelectMany(i => values[i]).ToArray(), together.Length, embeds);
            for (int i = 0; i < together.Length; i++)
                result[together[i]] = embeds[(i * EmbeddingWidth)..((i + 1) * EmbeddingWidth)];
        }
        return result;
    }

    delegate void PixelFiller(int image, Span<float> pixels);

    float[][] EmbedImages(int count, PixelFiller fill, CancellationToken cancellation)
    {
        Require(Modality.Image);
        int size = 3 * Images.Height * Images.Width;
        return InBatches(count, Even(count), (first, batch) =>
        {
            float[] pixels = ArrayPool<float>.Shared.Rent(batch * size);
            Prepare(batch, i => fill(first + i, pixels.AsSpan(i * size, size)), cancellation);
            var embeds = new float[batch * EmbeddingWidth];
            EmbedPixels(pixels.AsMemory(0, batch * size), batch, embeds);
            ArrayPool<float>.Shared.Return(pixels);
            return embeds.Chunk(EmbeddingWidth).ToArray();
        }, cancellation);
    }

    /// <summary>Batches of equal size: as many as keep all cores busy where they run side by side.</summary>
    (int First, int Count)[] Even(int count)
    {
        int size = Math.Clamp((count + _sideBySide - 1) / _sideBySide, 1, MediaBatch);
        return [.. Enumerable.Range(0, (count + size - 1) / size).Select(b => (b * size, Math.Min(size, count - b * size)))];
    }

    /// <summary>Embeds batch after batch, or for throughput side by side.</summary>
    float[][] InBatches(int count, IReadOnlyList<(int First, int Count)> batches, Func<int, int, float[][]> embed, CancellationToken cancellation)
    {
        var result = new float[count][];
        Apply(batches.Count, _sideBySide, b => embed(batches[b].First, batches[b].Count).CopyTo(result, batches[b].First), cancellation);
        return result;
    }

    /// <summary>Prepares the items of a batch: on all cores, or where batches run side by side on the batch's own.</summary>
    void Prepare(int count, Action<int> body, CancellationToken cancellation) =>
        Apply(count, _sideBySide > 1 ? 1 : Environment.ProcessorCount, body, cancellation);

    /// <summary>A loop on so many cores whose first error comes out as it is.</summary>
    static void Apply(int count, int cores, Action<int> body, CancellationToken cancellation)
    {
        if (cores == 1)
        {
            for (int i = 0; i < count; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                body(i);
            }
            return;
        }
        try
        {
            Parallel.For(0, count, new() { CancellationToken = cancellation, MaxDegreeOfParallelism = cores }, body);
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    /// <summary>Embeds texts, in batches, each distinct text once; what they begin with alike too, where tokens see only those before
    /// them (CLIP). Each is cut to the tokenizer's context length.</summary>
    /// <param name="texts">The texts.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <returns>One row of E values and length 1 per text, in order; each an array of its own.</returns>
    /// <exception cref="NotSupportedException">The model has no encoder for texts.</exception>
    public float[][] EmbedTexts(IReadOnlyList<string> texts, CancellationToken cancellation = default)
    {
        Require(Modality.Text);
        string[] distinct = [.. texts.Distinct(StringComparer.Ordinal)];
        int[] lengths = [.. distinct.Select(text => Texts.Encode(text).Count)];
        // Those of one length in alphabetical order: texts that begin alike run together.
        int[] order = [.. Enumerable.Range(0, lengths.Length).OrderBy(i => lengths[i]).ThenBy(i => distinct[i], StringComparer.Ordinal)];
        int most = Math.Clamp((order.Length + _sideBySide - 1) / _sideBySide, 1, TextBatch);
        IReadOnlyList<(int First, int Count)> batches = Definition.TextBatches([.. order.Select(i => lengths[i])], most);
        float[][] sorted = InBatches(order.Length, batches, (first, count) =>
        {
            int length = Definition.PaddedLength(lengths[order[first + count - 1]]);
            var ids = new long[count * length];
            Texts.EncodeBatch([.. order.AsSpan(first, count).ToArray().Select(i => distinct[i])], length, ids, []);
            var embeds = new float[count * EmbeddingWidth];
            EmbedIds(ids, count, length, embeds);
            return embeds.Chunk(EmbeddingWidth).ToArray();
        }, cancellation);
        Dictionary<string, float[]> rows = order.Zip(sorted).ToDictionary(r => distinct[r.First], r => r.Second, StringComparer.Ordinal);
        var handedOut = new HashSet<string>(StringComparer.Ordinal);
        return [.. texts.Select(text => handedOut.Add(text) ? rows[text] : [.. rows[text]])];
    }

    /// <summary>True for a model that looks at picture and text together; false for one that compares embeddings.</summary>
    public bool MatchesPairs => Runtime.RunPair is not null;

    /// <summary>Looks at pairs of normalised pixels and token ids.</summary>
    /// <param name="pixels">[B, C, H, W], as <see cref="Images"/> makes them.</param>
    /// <param name="ids">[B, L], as <see cref="Texts"/> makes them.</param>
    /// <param name="count">B, at least 1.</param>
    /// <param name="length">L, at most the model's context length.</param>
    /// <param name="withAttention">True for attention maps too.</param>
    /// <exception cref="ArgumentException">A span has another number of elements.</exception>
    /// <exception cref="NotSupportedException">The model only compares embeddings, or has no attention maps.</exception>
    public PairScores MatchPairs(ReadOnlyMemory<float> pixels, ReadOnlyMemory<long> ids, int count, int length, bool withAttention = false)
    {
        ObjectDisposedException.ThrowIf(_lease.IsReleased, this);
        Func<IReadOnlyDictionary<string, TensorData>, IReadOnlyDictionary<string, TensorData>> run = (withAttention ? Runtime.RunAttention : Runtime.RunPair)
            ?? throw new NotSupportedException($"'{Name}' is '{Definition.ModelType}' and "
                + (MatchesPairs ? "has no attention maps between texts and pictures." : "compares embeddings; it does not look at picture and text together."));
        Dim[] picture = Definition.Encoders[Modality.Image].Inputs[0].Shape[1..];
        return PairScores.Of(run(new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From(pixels.Span, [count, .. picture.Select(d => (long)d.Size)]),
            ["input_ids"] = TensorData.From(ids.Span, count, length),
        }));
    }

    /// <summary>How well each picture and the text at the same place fit: the logarithm of the odds that they belong together where the
    /// model looks at both together, else the cosine similarity of their embeddings. The higher the better; scores of two models are
    /// not to be compared.</summary>
    /// <param name="images">B pictures, of any size.</param>
    /// <param name="texts">B texts.</param>
    /// <param name="cancellation">Ends the work between two batches.</param>
    /// <exception cref="ArgumentException">There are not as many texts as pictures.</exception>
    /// <exception cref="NotSupportedException">The model has no encoders for pictures and texts.</exception>
    public float[] ScorePairs(IReadOnlyList<RgbImage> images, IReadOnlyList<string> texts, CancellationToken cancellation = default)
    {
        if (images.Count != texts.Count)
            throw new ArgumentException($"there must be a text for each picture, but there are {texts.Count} for {images.Count}.", nameof(texts));
        if (!MatchesPairs)
            return [.. EmbedImages(images, cancellation).Zip(EmbedTexts(texts, cancellation), (i, t) => TensorPrimitives.Dot<float>(i, t))];
        int size = 3 * Images.Height * Images.Width;
        return [.. InBatches(images.Count, Even(images.Count), (first, count) =>
        {
            var pixels = new float[count * size];
            Prepare(count, i => Images.Apply(images[first + i], pixels.AsSpan(i * size, size)), cancellation);
            IReadOnlyList<int>[] tokens = [.. Enumerable.Range(first, count).Select(i => Texts.Encode(texts[i]))];
            int length = Definition.PaddedLength(tokens.Max(t => t.Count));
            var ids = new long[count * length];
            for (int i = 0; i < count; i++) Texts.Pad(tokens[i], ids.AsSpan(i * length, length));
            return [.. MatchPairs(pixels, ids, count, length).LogOdds.Select(o => new[] { o })];
        }, cancellation).Select(o => o[0])];
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

    AudioPreprocessing ReadAudioPreprocessing()
    {
        Require(Modality.Audio);
        AudioPreprocessing sounds = AudioPreprocessing.TryLoad(Files.TryRead) ?? throw new FileNotFoundException(
            $"'{Name}' has no {PreprocessorFile}; it says how sounds are made for the model.");
        Dim[] wanted = Definition.Encoders[Modality.Audio].Inputs[0].Shape[1..];
        IReadOnlyList<int> made = sounds.Shape(sounds.MaxSamples);
        bool fits = made.Count == wanted.Length && made.Zip(wanted).All(d => !d.Second.IsKnown || d.Second.Size == d.First);
        return fits ? sounds with { MinSamples = Definition.MinSamples } : throw new InvalidDataException(
            $"{PreprocessorFile} of '{Name}' makes [{string.Join(", ", made)}] of a sound, "
            + $"but config.json wants [{string.Join<Dim>(", ", wanted)}].");
    }

    /// <summary>Lets go of the sessions and the weights; they are closed when no other model of the same folder has them. No other
    /// call on this model may be under way.</summary>
    public void Dispose() => _lease.Dispose();
}
