using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ZeroShotClassifyCatalog.ZeroShotClassify"/>. Exactly one of <see cref="Image"/>,
/// <see cref="Audio"/> and <see cref="Video"/>, and of <see cref="Model"/> and <see cref="LoadedModel"/>, is set. The words come from <see cref="Labels"/> and <see
/// cref="Templates"/>, or from a folder beside the data: <see cref="Prompts"/> or <see cref="LoadedPrompts"/>.</summary>
public sealed record ZeroShotClassifyOptions
{
    /// <summary>Column that is added: the most probable label as a key whose key values are <see cref="Labels"/>, as ML.NET's own
    /// classifiers give it
    /// (<c>MapKeyToValue</c> makes it text); default <c>PredictedLabel</c>. Key n is <c>Labels[n - 1]</c>:
    /// <c>MulticlassClassification.Evaluate</c> compares
    /// key numbers, so its label column must number the classes in the same order.</summary>
    public string PredictedLabel { get; init => field = Checked.Name(value); } = "PredictedLabel";

    /// <summary>Column that is added: softmax(logitScale * cosine), Vector&lt;Single, labels&gt; in [0, 1] with sum 1; slot names
    /// are the labels, the annotations <c>Templates</c> and <c>PromptSource</c> say which prompts made them; default
    /// <c>Score</c>.</summary>
    public string Score { get; init => field = Checked.Name(value); } = "Score";

    /// <summary>Column that is added: the <see cref="TopK"/> most probable labels, Vector&lt;Text, k&gt;, best first; default
    /// <c>TopLabels</c>.</summary>
    public string TopLabels { get; init => field = Checked.Name(value); } = "TopLabels";

    /// <summary>Column that is added: their scores, Vector&lt;Single, k&gt;; default <c>TopScores</c>.</summary>
    public string TopScores { get; init => field = Checked.Name(value); } = "TopScores";

    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;; null for
    /// none.</summary>
    public string? Image { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of sounds: a path as text, the bytes of a sound file as Vector&lt;Byte&gt;, or mono samples as
    /// Vector&lt;Single&gt; (<see cref="MultimodalEmbedOptions.Audio"/>); null for none.</summary>
    public string? Audio { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of videos: a path as text, the bytes of a video file as Vector&lt;Byte&gt;, or frames, as <c>LoadVideo</c>
    /// makes them; null for none. The mean of its frames' embeddings stands for a video
    /// (<see cref="MultimodalEmbedOptions.Video"/>).</summary>
    public string? Video { get; init => field = Checked.NameOrNull(value); }

    /// <summary>The classes: at least one, distinct, none empty. Beside prompts that name classes: none, for all of those, or
    /// some of them.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];

    /// <summary>Texts with <c>{}</c> in place of the label; a class is the mean over them (Radford et al. 2021, section 3.1.4);
    /// none, the default, for those of the prompts or else <c>a photo of a {}.</c></summary>
    public IReadOnlyList<string> Templates { get; init; } = [];

    /// <summary>A folder with <c>zeroshot_classification_templates.txt</c> and, where it has the classes too,
    /// <c>classnames.txt</c>, as LAION's CLIP_benchmark keeps them beside the data; null for none. Read in <c>Fit</c>; a saved
    /// model holds the texts and the folder's name.</summary>
    public string? Prompts { get; init; }

    /// <summary>Prompts that were loaded elsewhere, in place of a folder.</summary>
    [JsonIgnore]
    public ZeroShotPrompts? LoadedPrompts { get; init; }

    /// <summary>k of <see cref="TopLabels"/> and <see cref="TopScores"/>, at least 0, at most the number of labels counts;
    /// default 5; 0 leaves the two columns out.</summary>
    public int TopK { get; init => field = Checked.AtLeastZero(value); } = 5;

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

    /// <inheritdoc cref="MultimodalEmbedOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz { get; init => field = Checked.RateOrNull(value); }

    /// <summary>Folder that relative paths in <see cref="Video"/> start from; null for the working directory.</summary>
    public string? VideoFolder { get; init; }

    /// <summary>True decodes JPEGs of at least twice the model's size at 1/2, 1/4 or 1/8 before they are resized exactly, as
    /// <see cref="Media.Images.ImagePreprocessing.ReducedScaleJpeg"/> says: faster where decoding is the limit, and embeddings
    /// differ a little. Default false.</summary>
    public bool ReducedScaleJpeg { get; init; }

    /// <summary>B, rows that run through the model together, 1 to 1024; default 8.</summary>
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

    /// <summary>What happens where a picture, a sound or a video cannot be read; default <see cref="MLNetMultimodal.OnError.Throw"/>.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = Mode, Threads = Threads, Dtype = Dtype };

    internal string[] OutputColumns => TopK > 0 ? [PredictedLabel, Score, TopLabels, TopScores] : [PredictedLabel, Score];

    /// <summary>What is classified: exactly one column.</summary>
    internal EmbedInput Input(MultimodalModel model) => Video is { } video
        ? new VideoInput(model, Videos(video))
        : Audio is not null ? new AudioInput(model, Sounds)
        : new ImageInput(model, Image!, ImageFolder, ReducedScaleJpeg);

    VideoColumn Videos(string column) => new(column, VideoFolder, takesFrames: true);

    SoundColumn Sounds => new(Audio!, AudioFolder, AudioSampleRateHz);

    internal void Validate()
    {
        if (new[] { Image, Audio, Video }.Count(c => c is not null) != 1)
            throw new ArgumentException("set exactly one of Image, Audio and Video: the column to classify.");
        Columns.CheckDistinct(OutputColumns);
        string[] templates = [.. new[]
        {
            Templates.Count > 0 ? nameof(Templates) : null, Prompts is null ? null : nameof(Prompts),
            LoadedPrompts is null ? null : nameof(LoadedPrompts),
        }.OfType<string>()];
        if (templates.Length > 1)
            throw new ArgumentException(
                $"{string.Join(" and ", templates)} are set, but templates come from one place; set one of them.");
    }

    /// <summary>The columns after the transform.</summary>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    internal SchemaShape After(SchemaShape before)
    {
        Columns.CheckImages(before, Image);
        if (Audio is not null) Sounds.Check(before);
        if (Video is { } video) Videos(video).Check(before);
        SchemaShape.Column[] predicted =
        [
            Shape.Key(PredictedLabel, Names(Columns.KeyValues)),
            Shape.Vector(Score, NumberDataViewType.Single, Names(Columns.SlotNames), Names(ZeroShotComputation.TemplatesAnnotation),
                Shape.Scalar(ZeroShotComputation.SourceAnnotation, TextDataViewType.Instance)),
        ];
        return TopK == 0 ? Shape.After(before, predicted)
            : Shape.After(before, [.. predicted, Names(TopLabels), Shape.Vector(TopScores, NumberDataViewType.Single)]);

        static SchemaShape.Column Names(string name) => Shape.Vector(name, TextDataViewType.Instance);
    }

    internal ZeroShotPrompts ReadPrompts()
    {
        ZeroShotPrompts? prompts = LoadedPrompts ?? (Prompts is null ? null : ZeroShotPrompts.Load(Prompts));
        if (prompts is null) return ZeroShotPrompts.Of(Labels, Templates);
        if (Labels.Count > 0) return prompts.Choose(Labels);
        return prompts.Labels is not null ? prompts : throw new ArgumentException(
            $"the classes are missing: '{prompts.Source}' has no {ZeroShotPrompts.LabelsFile}; add it, or set Labels.");
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class ZeroShotClassifyCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Classifies pictures, sounds or videos into classes that are named in words, without training (CLIP: Radford et al. 2021,
        /// arXiv:2103.00020, section 3.1).
        /// The texts are embedded once, in <c>Fit</c>, and saved with the model.</summary>
        /// <param name="options">Columns, labels, prompts and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model, embeds the prompts and trains nothing. It throws
        /// <see cref="ArgumentException"/> where labels or templates are empty or not distinct, or a label is none of those of the
        /// prompts, and <see cref="IOException"/> where the folder of prompts or one of its files is missing.</returns>
        /// <exception cref="ArgumentException">Not exactly one column to classify or one model is given, or output columns have the same name.</exception>
        public ZeroShotClassifyEstimator ZeroShotClassify(ZeroShotClassifyOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            return new(MlNet.Environment(catalog), options, SharedModel.From(options.Model, options.LoadedModel, options.Inference));
        }
    }
}

/// <summary>Fits <see cref="ZeroShotTransformer"/>: embeds the prompts.</summary>
public sealed class ZeroShotClassifyEstimator : RowEstimator<ZeroShotTransformer>
{
    internal ZeroShotClassifyEstimator(IHostEnvironment env, ZeroShotClassifyOptions options, SharedModel<MultimodalModel> model)
        : base(options.After, _ => Fit(env, options, model))
    {
    }

    static ZeroShotTransformer Fit(IHostEnvironment env, ZeroShotClassifyOptions options, SharedModel<MultimodalModel> shared)
    {
        ZeroShotPrompts prompts = options.ReadPrompts();
        ZeroShotClassifyOptions read = options with
        {
            Labels = prompts.Labels!,
            Templates = prompts.Templates,
            Prompts = null,
            LoadedPrompts = null,
        };
        return shared.Use(model => new ZeroShotTransformer(env, read, prompts.Source, shared,
            ZeroShotClassifier.Create(model, read.Labels, read.Templates).ClassEmbeddings));
    }
}

/// <summary>Classifies pictures, sounds or videos into classes that are named in words. The class embeddings are saved with the model's
/// files.</summary>
public sealed class ZeroShotTransformer : ModelTransformer<MultimodalModel>
{
    internal const string Loader = "MLNetMultimodalZeroShot";
    static readonly ModelEntry Entry = new("MMZSHOT ", Loader);

    readonly IReadOnlyList<ReadOnlyMemory<float>> _classEmbeddings;

    internal ZeroShotTransformer(IHostEnvironment env, ZeroShotClassifyOptions options, string promptSource,
        SharedModel<MultimodalModel> shared, IReadOnlyList<ReadOnlyMemory<float>> classEmbeddings)
        : base(shared, model =>
        {
            options.Validate();
            // From the stored embeddings here too, so that a loaded transformer computes the same bits.
            var classifier = ZeroShotClassifier.FromEmbeddings(options.Labels, options.Templates, classEmbeddings, model.LogitScale);
            return new ZeroShotComputation(env.Register(Loader), options, model, classifier, promptSource);
        }) => (Options, PromptSource, _classEmbeddings) = (options, promptSource, classEmbeddings);

    /// <summary>Labels, prompts and class embeddings.</summary>
    public ZeroShotClassifier Classifier => ((ZeroShotComputation)Computation).Classifier;

    /// <summary>What it was made with; <see cref="ZeroShotClassifyOptions.Labels"/> and
    /// <see cref="ZeroShotClassifyOptions.Templates"/> are the texts that were used, wherever they came from.</summary>
    public ZeroShotClassifyOptions Options { get; }

    /// <summary>Where the prompts came from: a folder as it was given, in a loaded model its name alone, or
    /// <c>options</c>.</summary>
    public string PromptSource { get; }

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Model,
            new Saved(Options with { Model = null }, [.. _classEmbeddings.Select(c => c.ToArray())],
                ModelContent.ShortName(PromptSource)));

    static ZeroShotTransformer Create(IHostEnvironment env, object context)
    {
        var (model, saved) = ModelContent.Load<Saved>(Entry, context, s => s.Options.Inference);
        return new(env, saved.Options, saved.PromptSource, SharedModel.Of(model, owned: true),
            [.. saved.ClassEmbeddings.Select(c => (ReadOnlyMemory<float>)c)]);
    }

    sealed record Saved(ZeroShotClassifyOptions Options, float[][] ClassEmbeddings, string PromptSource);
}
