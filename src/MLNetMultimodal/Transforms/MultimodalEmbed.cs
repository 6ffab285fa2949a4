using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>How the embeddings of several inputs become one.</summary>
public enum EmbeddingCombination
{
    /// <summary>One after the other, Vector&lt;Single, nE&gt; of n inputs: the picture's, the text's, the sound's, the video's. A trainer
    /// sees them all.</summary>
    Concatenate,

    /// <summary>Their mean brought to length 1, Vector&lt;Single, E&gt;: a point of the shared space, for retrieval. What is
    /// missing does not count.</summary>
    Mean,
}

/// <summary>Options of <see cref="MultimodalEmbedCatalog.MultimodalEmbed"/>. At least one of <see cref="Image"/>,
/// <see cref="Text"/>, <see cref="Audio"/> and <see cref="Video"/> is set, and exactly one of <see cref="Model"/> and
/// <see cref="LoadedModel"/>.</summary>
public sealed record MultimodalEmbedOptions
{
    /// <summary>The column that is added: the embedding, Vector&lt;Single&gt;; default <c>Embedding</c>. With several inputs it
    /// is their combination.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Embedding";

    /// <summary>With several inputs, one more column: the picture's embedding, Vector&lt;Single, E&gt; of length 1; default
    /// <c>Image</c> before <see cref="Output"/>.</summary>
    public string? ImageOutput { get; init => field = Checked.NameOrNull(value); }

    /// <summary>With several inputs, one more column: the text's embedding, Vector&lt;Single, E&gt; of length 1; default
    /// <c>Text</c> before <see cref="Output"/>.</summary>
    public string? TextOutput { get; init => field = Checked.NameOrNull(value); }

    /// <summary>With several inputs, one more column: the sound's embedding, Vector&lt;Single, E&gt; of length 1; default
    /// <c>Audio</c> before <see cref="Output"/>.</summary>
    public string? AudioOutput { get; init => field = Checked.NameOrNull(value); }

    /// <summary>With several inputs, one more column: the video's embedding, Vector&lt;Single, E&gt; of length 1; default
    /// <c>Video</c> before <see cref="Output"/>.</summary>
    public string? VideoOutput { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;; null for
    /// none.</summary>
    public string? Image { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of texts; null for none. Texts are cut to the model's context length; an empty text is a text like any
    /// other. Texts of like length run through the model together, and one that is repeated is embedded once.</summary>
    public string? Text { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of sounds: a path as text, the bytes of a sound file as Vector&lt;Byte&gt;, or mono samples as
    /// Vector&lt;Single&gt; whose rate is <see cref="AudioSampleRateHz"/> or the column's annotation <c>SampleRateHz</c>; null
    /// for none. WAV and AIFF are read as they are, other formats and the sound of videos by ffmpeg. Of a long sound what the
    /// model takes is heard (<see cref="Media.Audio.AudioPreprocessing.MaxSamples"/>).</summary>
    public string? Audio { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of videos: a path as text, the bytes of a video file as Vector&lt;Byte&gt;, or frames, Vector&lt;Byte&gt; of
    /// the dimensions [T, H, W, 3], as <c>LoadVideo</c> makes them; null for none. The picture tower sees frame by frame, and the
    /// mean of its embeddings, brought to length 1, stands for the video, as CLIP4Clip pools frames (Luo et al. 2021,
    /// arXiv:2104.08860) and ImageBind clips (Girdhar et al. 2023, arXiv:2305.05665). Which frames of a file those are says the
    /// model (<see cref="MultimodalModel.Videos"/>): a frame a second, at most 12 spread evenly, where its folder says nothing
    /// else. Of a column of frames it sees all.</summary>
    public string? Video { get; init => field = Checked.NameOrNull(value); }

    /// <summary>The model: a folder in the Hugging Face layout, or one of the hub, <c>hub:owner/name</c> or
    /// <c>hub:owner/name@revision</c>, which is downloaded where the cache does not have it
    /// (<see cref="ModelFiles.FromFolder"/>).</summary>
    public string? Model { get; init; }

    /// <summary>A model that was loaded elsewhere, in place of a folder. The caller disposes it, after all transformers that use
    /// it.</summary>
    [JsonIgnore]
    public MultimodalModel? LoadedModel { get; init; }

    /// <summary>Folder that relative paths in <see cref="Image"/> start from; null for the working directory.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder that relative paths in <see cref="Audio"/> start from; null for the working directory.</summary>
    public string? AudioFolder { get; init; }

    /// <summary>Folder that relative paths in <see cref="Video"/> start from; null for the working directory.</summary>
    public string? VideoFolder { get; init; }

    /// <summary>Samples per second of a column <see cref="Audio"/> of samples, 1 to
    /// <see cref="Media.Audio.AudioReader.MaxSampleRateHz"/>; null for the column's annotation <c>SampleRateHz</c>. Sounds in
    /// files say it themselves.</summary>
    public int? AudioSampleRateHz { get; init => field = Checked.RateOrNull(value); }

    /// <summary>How embeddings become one where several inputs are set; default <see
    /// cref="EmbeddingCombination.Concatenate"/>.</summary>
    public EmbeddingCombination Combine { get; init; }

    /// <summary>True decodes JPEGs of at least twice the model's size at 1/2, 1/4 or 1/8 before they are resized exactly, as
    /// <see cref="Media.Images.ImagePreprocessing.ReducedScaleJpeg"/> says: faster where decoding is the limit, and embeddings
    /// differ a little. Default false.</summary>
    public bool ReducedScaleJpeg { get; init; }

    /// <summary>B, rows that run through the model together, 1 to 1024; default 8. Larger batches take more memory and gain
    /// little on a processor. With <see cref="Video"/> it is one row, whose frames run together.</summary>
    public int BatchSize { get; init => field = Checked.Batch(value); } = 8;

    /// <summary>What runs of the model are arranged for; default <see cref="InferenceMode.Throughput"/>: batches run side by side, one
    /// core each. <see cref="InferenceMode.Latency"/> gives single predictions sooner. Without effect on <see
    /// cref="LoadedModel"/>.</summary>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <summary>Threads that one run of the model uses; default 0, as <see cref="Mode"/> says. Without effect on <see
    /// cref="LoadedModel"/>.</summary>
    public int Threads { get; init => field = Checked.AtLeastZero(value); }

    /// <summary>How weights are stored in what runs; default null: 32-bit floats, or in a folder that holds graphs only the best
    /// there is. Without effect on <see cref="LoadedModel"/>.</summary>
    public OnnxDtype? Dtype { get; init; }

    /// <summary>What happens where a picture, a text, a sound or a video cannot be read; default <see
    /// cref="MLNetMultimodal.OnError.Throw"/>.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = Mode, Threads = Threads, Dtype = Dtype };

    /// <summary>The combination, and where there are several inputs one for each.</summary>
    internal string[] OutputColumns
    {
        get
        {
            var parts = new List<string>();
            if (Image is not null) parts.Add(ImageOutput ?? "Image" + Output);
            if (Text is not null) parts.Add(TextOutput ?? "Text" + Output);
            if (Audio is not null) parts.Add(AudioOutput ?? "Audio" + Output);
            if (Video is not null) parts.Add(VideoOutput ?? "Video" + Output);
            return parts.Count > 1 ? [Output, .. parts] : [Output];
        }
    }

    internal VideoColumn Videos(string column) => new(column, VideoFolder, takesFrames: true);

    /// <summary>The columns after the transform.</summary>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type.</exception>
    internal SchemaShape After(SchemaShape before)
    {
        Columns.CheckImages(before, Image);
        Columns.CheckTexts(before, Text);
        if (Audio is { } audio) new SoundColumn(audio, AudioFolder, AudioSampleRateHz).Check(before);
        if (Video is { } video) Videos(video).Check(before);
        return Shape.After(before, [.. OutputColumns.Select(name => Shape.Vector(name, NumberDataViewType.Single,
            Shape.Scalar(EmbedComputation.ModelAnnotation, TextDataViewType.Instance)))]);
    }

    internal void Validate()
    {
        if (Image is null && Text is null && Audio is null && Video is null)
            throw new ArgumentException("set Image, Text, Audio, Video or several of them: the columns to embed.");
        Columns.CheckDistinct(OutputColumns);
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class MultimodalEmbedCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Embeds pictures, texts, sounds, videos or several of them with a multimodal model (CLIP: Radford et al. 2021,
        /// arXiv:2103.00020), whole batches at a time, decoding ahead
        /// on worker threads. Embeddings of one input have length 1, so that a dot product is a cosine. Each embedding column
        /// carries the annotation <c>Model</c>.</summary>
        /// <param name="options">Columns and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing.</returns>
        /// <exception cref="ArgumentException">No input column or not exactly one model is given.</exception>
        public MultimodalEmbedEstimator MultimodalEmbed(MultimodalEmbedOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            return new(MlNet.Environment(catalog), options, SharedModel.From(options.Model, options.LoadedModel, options.Inference));
        }
    }
}

/// <summary>Fits <see cref="MultimodalTransformer"/>.</summary>
public sealed class MultimodalEmbedEstimator : RowEstimator<MultimodalTransformer>
{
    internal MultimodalEmbedEstimator(IHostEnvironment env, MultimodalEmbedOptions options, SharedModel<MultimodalModel> model)
        : base(options.After, _ => new(env, options, model))
    {
    }
}

/// <summary>Embeds pictures, texts, sounds and videos with a loaded model: the result of <see cref="MultimodalEmbedEstimator"/> and of
/// the multimodal trainers.</summary>
public sealed class MultimodalTransformer : ModelTransformer<MultimodalModel>
{
    internal const string Loader = "MLNetMultimodalEmbed";
    static readonly ModelEntry Entry = new("MMEMBED ", Loader);

    internal MultimodalTransformer(IHostEnvironment env, MultimodalEmbedOptions options, SharedModel<MultimodalModel> shared)
        : base(shared, model => Compute(env, options, model)) => Options = options;

    /// <summary>A transformer over a model that was just trained; disposing the transformer disposes the model.</summary>
    internal MultimodalTransformer(IHostEnvironment env, MultimodalEmbedOptions options, MultimodalModel model)
        : this(env, options, SharedModel.Of(model, owned: true))
    {
    }

    /// <summary>What it was made with.</summary>
    public MultimodalEmbedOptions Options { get; }

    /// <summary>Writes the model as a folder in the Hugging Face layout: config, weights, tokenizer, preprocessing. Each file
    /// appears whole or not at all.</summary>
    /// <param name="path">The folder; it is created, and files of the same names are replaced.</param>
    public void SaveModelFolder(string path) => ModelContent.SaveFolder(Model, path);

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Model, Options with { Model = null });

    static MultimodalTransformer Create(IHostEnvironment env, object context)
    {
        var (model, options) = ModelContent.Load<MultimodalEmbedOptions>(Entry, context, o => o.Inference);
        return new(env, options, model);
    }

    static EmbedComputation Compute(IHostEnvironment env, MultimodalEmbedOptions options, MultimodalModel model)
    {
        options.Validate();
        if (options.Image is not null || options.Video is not null) Require(model, Modality.Image);
        if (options.Text is not null) Require(model, Modality.Text);
        if (options.Audio is not null) Require(model, Modality.Audio);
        return new(env.Register(Loader), options, model);
    }

    static void Require(MultimodalModel model, Modality modality)
    {
        if (!model.Modalities.Contains(modality))
            throw new NotSupportedException($"'{model.Name}' has no encoder for {modality}; "
                + $"it has {string.Join(", ", model.Modalities)}.");
    }
}
