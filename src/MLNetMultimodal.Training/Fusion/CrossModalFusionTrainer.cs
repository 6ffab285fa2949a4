using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to ML.NET's catalogs.</summary>
public static class CrossModalFusionCatalog
{
    extension(MulticlassClassificationCatalog.MulticlassClassificationTrainers trainers)
    {
        /// <summary>Trains a model that predicts a class from pictures, texts, sounds and numbers, of which any may be missing, by
        /// cross-modal attention over all that are there (<see cref="Models.Families.CrossModalFusion"/>).</summary>
        /// <param name="options">Columns, model and training.</param>
        public CrossModalFusionTrainer CrossModalFusion(CrossModalFusionOptions options) =>
            new(MlNet.Environment(trainers), FusionTask.Multiclass, options);
    }

    extension(BinaryClassificationCatalog.BinaryClassificationTrainers trainers)
    {
        /// <summary>The same for yes or no.</summary>
        /// <param name="options">Columns, model and training.</param>
        public CrossModalFusionTrainer CrossModalFusion(CrossModalFusionOptions options) =>
            new(MlNet.Environment(trainers), FusionTask.Binary, options);
    }

    extension(RegressionCatalog.RegressionTrainers trainers)
    {
        /// <summary>The same for a number.</summary>
        /// <param name="options">Columns, model and training.</param>
        public CrossModalFusionTrainer CrossModalFusion(CrossModalFusionOptions options) =>
            new(MlNet.Environment(trainers), FusionTask.Regression, options);
    }
}

/// <summary>Trains a fusion model (<see cref="Models.Families.CrossModalFusion"/>) on a table of mixed columns. One fit at a time: torch uses all cores
/// of the machine.</summary>
public sealed class CrossModalFusionTrainer : IEstimator<FusionTransformer>
{
    readonly IHostEnvironment _env;
    readonly FusionTask _task;
    readonly CrossModalFusionOptions _options;

    internal CrossModalFusionTrainer(IHostEnvironment env, FusionTask task, CrossModalFusionOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _task, _options) = (env, task, options);
    }

    /// <summary>Trains on all rows, but those that <see cref="CrossModalFusionOptions.ValidationShare"/> holds back.</summary>
    /// <param name="input">Rows; what is prepared of them is held in memory.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, no row has a label, or options do not fit
    /// together.</exception>
    /// <exception cref="InvalidDataException">An item cannot be read, or a file of a model to start with or of a checkpoint is not
    /// sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="NotSupportedException">A model to start with is of another family.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public FusionTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is looked at
    /// after each epoch: by accuracy, or R squared of a regression.</summary>
    /// <param name="train">Rows.</param>
    /// <param name="validation">The same columns, the label with the same key values; null for what
    /// <see cref="CrossModalFusionOptions.ValidationShare"/> holds back.</param>
    /// <inheritdoc cref="Fit(IDataView)" path="/exception"/>
    public FusionTransformer Fit(IDataView train, IDataView? validation)
    {
        _options.Begin(Check, train, validation);
        using IChannel log = _env.Register("CrossModalFusion").Start("Fit");
        var reader = new FusionReader(_options, _task);
        KeyNames labels = _task == FusionTask.Multiclass ? KeyNames.Of(train.Schema[_options.Label]) : new(null, []);
        CheckLabels(labels, validation);
        var towers = FusionTowers.Start(_options, reader, train);
        CrossModalFusionConfig config = _options.Config(_task, labels.Values, towers.Vision, towers.Text, towers.Audio,
            _options.Features is null ? null : reader.Columns.FeatureNames(train.Schema));
        var definition = new CrossModalFusionModel(config);
        var preprocessing = new FusionPreprocessing(config, towers.Images, towers.Texts, towers.Sounds);
        (FusionSet rows, FusionSet? held) = Read(reader, train, validation, preprocessing, log);
        using TorchModel model = NewModel(definition, towers, rows);
        CrossModalFusionOptions logged = _options with { Progress = new EpochLog(log, _options.Progress) };
        var task = new FusionTraining(logged, preprocessing, definition, model, rows, held, towers.Started);
        string? started = _options.Initialize ?? _options.InitializeAudio;
        using var loop = new TrainingLoop<FusionTrainingBatch>(logged, task, started, started is null || _options.Checkpoints is null ? null
            : BaseFingerprint.Of(definition, [.. preprocessing.ToFiles()], towers.Weights));
        TrainingResult result = loop.Run();
        string card = TrainedModel.Card($"{_task.ToString().ToLowerInvariant()} by cross-modal attention", _options, definition, rows.Count, result,
            task.Metric, started);
        ModelFiles files = TrainedModel.Finish(_options, definition, result, card, preprocessing.ToFiles());
        return new(_env, _options.Predict(labels.Type), FusionPredictor.Load(files, new() { Mode = InferenceMode.Throughput }));
    }

    (FusionSet Train, FusionSet? Held) Read(FusionReader reader, IDataView train, IDataView? validation, FusionPreprocessing preprocessing, IChannel log)
    {
        FusionSet rows = ReadOne(train);
        FusionSet? held = validation is null ? null : ReadOne(validation);
        if (held is null && _options.ValidationShare > 0)
        {
            int[] order = EpochOrder.Of(rows.Count, _options.Seed, -1);
            int kept = (int)Math.Round(rows.Count * _options.ValidationShare);
            if (kept == 0 || kept == rows.Count)
                throw new ArgumentException($"ValidationShare {_options.ValidationShare} of {rows.Count} rows leaves none to {(kept == 0 ? "validate" : "train")} on.");
            (held, rows) = (rows.Of(order[..kept]), rows.Of(order[kept..]));
        }
        return (rows, held);

        FusionSet ReadOne(IDataView data)
        {
            FusionSet set = reader.Read(data, preprocessing);
            if (reader.Unlabelled > 0) log.Warning(MessageSensitivity.None, $"{reader.Unlabelled} rows have no label and are left out.");
            if (reader.Failures > 0) log.Warning(MessageSensitivity.None, $"{reader.Failures} items could not be read and count as missing.");
            return set.Count > 0 ? set : throw new ArgumentException($"no row of the {(data == validation ? "validation" : "training")} data has a label in column '{_options.Label}'.");
        }
    }

    /// <summary>Random weights, but for towers that were started with and the statistics of the data.</summary>
    TorchModel NewModel(CrossModalFusionModel definition, FusionTowers towers, FusionSet rows)
    {
        Dictionary<string, TensorData> weights;
        using (TorchModel drawn = TorchModel.Create(definition.Full, _options.Seed)) weights = drawn.ToWeights().ToDictionary(StringComparer.Ordinal);
        foreach (var (name, value) in towers.Weights)
            if (weights.ContainsKey(name)) weights[name] = value;
        if (definition.Config.Features is { } features)
        {
            (float Mean, float Scale)[] columns = [.. Enumerable.Range(0, features.Names.Count).Select(c =>
                Statistics([.. rows.Rows.Select(r => r.Numbers?[c] ?? float.NaN).Where(n => !float.IsNaN(n))]))];
            Set("features", columns);
        }
        if (_task == FusionTask.Regression) Set("label", [Statistics([.. rows.Labels])]);
        return TorchModel.Load(definition.Full, weights, device(_options.Device));

        void Set(string name, (float Mean, float Scale)[] values)
        {
            weights[$"{name}.mean"] = TensorData.From([.. values.Select(v => v.Mean)], values.Length);
            weights[$"{name}.scale"] = TensorData.From([.. values.Select(v => v.Scale)], values.Length);
        }
    }

    /// <summary>Mean and standard deviation; of equal or no numbers a deviation of 1, so that they say nothing.</summary>
    static (float Mean, float Scale) Statistics(ReadOnlySpan<float> values)
    {
        if (values.Length == 0) return (0, 1);
        double mean = 0, variance = 0;
        foreach (float v in values) mean += (double)v / values.Length;
        foreach (float v in values) variance += (v - mean) * (v - mean) / values.Length;
        return ((float)mean, variance > 1e-12 * Math.Max(1, mean * mean) ? (float)Math.Sqrt(variance) : 1);
    }

    void CheckLabels(KeyNames labels, IDataView? validation)
    {
        if (_task != FusionTask.Multiclass || validation is null) return;
        KeyNames other = KeyNames.Of(validation.Schema[_options.Label]);
        if (!labels.Values.SequenceEqual(other.Values))
            throw new ArgumentException($"column '{_options.Label}' stands for {Few(labels)} in the training data, but for {Few(other)} in the validation data; "
                + "map both with one fitted MapValueToKey.", nameof(validation));

        static string Few(KeyNames names) => $"{names.Values.Count} classes ({string.Join(", ", names.Values.Take(5))}{(names.Values.Count > 5 ? ", …" : "")})";
    }

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Check(inputSchema);
        DataViewType? values = null;
        foreach (SchemaShape.Column annotation in Columns.Find(inputSchema, _options.Label).Annotations)
            if (annotation.Name == Columns.KeyValues) values = annotation.ItemType;
        return _options.Predict(null).After(_task, values, inputSchema);
    }

    void Check(SchemaShape schema)
    {
        _options.Predict(null).Columns.Check(schema);
        SchemaShape.Column label = Columns.Find(schema, _options.Label);
        (bool fits, string wanted) = _task switch
        {
            FusionTask.Multiclass => (label.IsKey && label.ItemType == NumberDataViewType.UInt32, "a key of UInt32; Conversion.MapValueToKey makes one"),
            FusionTask.Binary => (label.ItemType == BooleanDataViewType.Instance, "Boolean"),
            _ => (label.ItemType == NumberDataViewType.Single && !label.IsKey, "Single; Conversion.ConvertType makes it"),
        };
        if (!fits || Columns.IsVector(label))
            throw new ArgumentException($"the label '{_options.Label}' must be {wanted}, but is {Columns.Describe(label.ItemType, Columns.IsVector(label))}.");
    }
}

/// <summary>Towers of a fusion model and how their senses are prepared: from folders, or new ones from random weights.</summary>
sealed record FusionTowers
{
    public VisionConfig? Vision { get; private init; }

    public ClipTextConfig? Text { get; private init; }

    public AstConfig? Audio { get; private init; }

    public ImagePreprocessing? Images { get; private init; }

    public TextTokenizer? Texts { get; private init; }

    public AudioPreprocessing? Sounds { get; private init; }

    /// <summary>Of the towers that come from folders, under the names of a fusion model.</summary>
    public IReadOnlyDictionary<string, TensorData> Weights { get; private init; } = new Dictionary<string, TensorData>();

    /// <summary>Senses whose towers come from folders.</summary>
    public IReadOnlySet<Modality> Started { get; private init; } = new HashSet<Modality>();

    /// <summary>What options ask for.</summary>
    public static FusionTowers Start(CrossModalFusionOptions o, FusionReader reader, IDataView train)
    {
        if (o.Initialize is not null && o.Image is null && o.Text is null)
            throw new ArgumentException("Initialize gives towers of pictures and texts, but neither Image nor Text is set.");
        if (o.InitializeAudio is not null && o.Audio is null) throw new ArgumentException("InitializeAudio gives a tower of sounds, but Audio is not set.");
        var weights = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        var started = new HashSet<Modality>();
        var towers = new FusionTowers { Weights = weights, Started = started };
        if (o.Initialize is { } folder)
        {
            (ModelFiles files, ClipModel clip) = Open<ClipModel>(folder, "Initialize", "a CLIP", weights, "");
            if (o.Image is not null) started.Add(Modality.Image);
            if (o.Text is not null) started.Add(Modality.Text);
            towers = towers with
            {
                Vision = o.Image is null ? null : clip.Config.Vision,
                Images = o.Image is null ? null : ImagePreprocessing.TryLoad(files.TryRead),
                Text = o.Text is null ? null : clip.Config.Text,
                Texts = o.Text is null ? null : TextTokenizer.Load(files.TryRead, folder),
            };
        }
        else
        {
            TextTokenizer? texts = o.Text is null ? null : ByteLevelBpeTrainer.Train(reader.Texts(train), new() { VocabularySize = o.VocabularySize })
                .WithContextLength(o.ContextLength);
            towers = towers with
            {
                Vision = o.Image is null ? null : o.NewVision,
                Images = o.Image is null ? null : ImagePreprocessing.Clip(o.ImageSize),
                Text = texts is null ? null : o.NewText(texts),
                Texts = texts,
            };
        }
        if (o.Audio is null) return towers;
        if (o.InitializeAudio is not { } sounds)
            return towers with { Audio = o.NewAudio, Sounds = AudioPreprocessing.FromSpectrogram(o.Spectrogram) };
        started.Add(Modality.Audio);
        (ModelFiles audio, AstModel ast) = Open<AstModel>(sounds, "InitializeAudio", "an audio spectrogram transformer", weights, "audio_model.");
        return towers with { Audio = ast.Config, Sounds = AudioPreprocessing.TryLoad(audio.TryRead) };
    }

    static (ModelFiles, TModel) Open<TModel>(string folder, string option, string wanted, Dictionary<string, TensorData> weights, string prefix)
        where TModel : class, IModelDefinition
    {
        ModelFiles files = ModelFiles.FromFolder(folder);
        IModelDefinition known = ModelFamilies.Create(files);
        if (known is not TModel model) throw new NotSupportedException($"{option} is '{folder}', a '{known.ModelType}'; {wanted} is wanted.");
        using ModelWeights file = files.OpenWeights();
        foreach (var (name, tensor) in CheckpointWeights.For(known, file, folder))
            weights[prefix + name] = TensorData.From(tensor.ToSingles(), [.. tensor.Shape]); // the file is closed
        return (files, model);
    }
}
