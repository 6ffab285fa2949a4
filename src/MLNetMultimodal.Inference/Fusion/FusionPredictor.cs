using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference;

/// <summary>What a fusion model looked at in one row. Tokens stand in the order of <see cref="CrossModalFusionModel.Tokens"/>, texts
/// filled up to the context length; the place 0 is that of the token that is always there.</summary>
/// <param name="Scores">[C]: probabilities of the classes, the logit of yes, or the number.</param>
/// <param name="Attention">[tokens]: what the latents looked at in the last layer, their mean; sums to 1.</param>
/// <param name="TokenAttention">[tokens][tokens]: what each token looked at in the last joint layer, such as which patches a word
/// looked at; rows sum to 1. None without joint layers.</param>
public sealed record FusionExplanation(float[] Scores, float[] Attention, IReadOnlyList<float[]> TokenAttention);

/// <summary>A fusion model, loaded: rows of pictures, texts, sounds and numbers, of which any may be missing, become predictions.
/// Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class FusionPredictor : IDisposable
{
    readonly ModelWeights _file;
    readonly Lazy<OnnxSession> _predictor, _explainer;

    FusionPredictor(CrossModalFusionModel model, FusionPreprocessing preprocessing, ModelFiles files, ModelWeights file, InferenceOptions options)
    {
        (Model, Preprocessing, _file, Files) = (model, preprocessing, file, files);
        IReadOnlyDictionary<string, TensorData> weights = CheckpointWeights.For(model, file, files.Name);
        Lazy<OnnxSession> Session(IProgram program) => new(() => OnnxSession.Open(program, weights, options));
        (_predictor, _explainer) = (Session(model.Predictor), Session(model.Explainer));
    }

    /// <summary>Loads a model folder: <c>config.json</c>, <c>model.safetensors</c>, <c>processor_config.json</c> and a tokenizer, of
    /// which the model's senses need. The weights stay mapped to the file until <see cref="Dispose"/>.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="options">Mode, threads, dtype; null for the defaults.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not sound, or weights are missing, surplus or of another shape.</exception>
    /// <exception cref="NotSupportedException">The model is no fusion model.</exception>
    public static FusionPredictor Load(string folder, InferenceOptions? options = null) => Load(ModelFiles.FromFolder(folder), options);

    /// <summary>Loads the files of a fusion model, from a folder or from memory.</summary>
    /// <param name="files">The files.</param>
    /// <param name="options">Mode, threads, dtype; null for the defaults.</param>
    /// <inheritdoc cref="Load(string, InferenceOptions?)" path="/exception"/>
    public static FusionPredictor Load(ModelFiles files, InferenceOptions? options = null)
    {
        options ??= new();
        IModelDefinition definition = ModelFamilies.Create(files, options.Families);
        if (definition is not CrossModalFusionModel model)
            throw new NotSupportedException($"'{files.Name}' is a '{definition.ModelType}', which does not predict; the trainer CrossModalFusion makes models that do.");
        FusionPreprocessing preprocessing = FusionPreprocessing.Load(files, model.Config);
        ModelWeights file = files.OpenWeights();
        try
        {
            return new(model, preprocessing, files, file, options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The files it was loaded from.</summary>
    public ModelFiles Files { get; }

    /// <summary>Its programs, sizes and the places of its tokens.</summary>
    public CrossModalFusionModel Model { get; }

    /// <summary>How rows are prepared for it.</summary>
    public FusionPreprocessing Preprocessing { get; }

    /// <summary>Predicts rows, which run through the model together.</summary>
    /// <param name="rows">As <see cref="Preprocessing"/> makes them.</param>
    /// <returns>[C] scores of each row: probabilities of the classes, the logit of yes, or the number.</returns>
    public float[][] Predict(IReadOnlyList<FusionRow> rows) =>
        rows.Count == 0 ? [] : _predictor.Value.Run(Preprocessing.ToTensors(rows))["scores"].ToSingles().Chunk(Model.Config.Outputs).ToArray();

    /// <summary>Predicts rows, and says what the model looked at.</summary>
    /// <param name="rows">As <see cref="Preprocessing"/> makes them.</param>
    public FusionExplanation[] Explain(IReadOnlyList<FusionRow> rows)
    {
        if (rows.Count == 0) return [];
        var outputs = _explainer.Value.Run(Preprocessing.ToTensors(rows, Model.Config.Text?.ContextLength));
        float[][] scores = outputs["scores"].ToSingles().Chunk(Model.Config.Outputs).ToArray();
        int tokens = Model.TokenCount, latents = Model.Config.Bottleneck.Latents;
        float[] attention = outputs["latent_attention"].ToSingles();
        float[]? pairs = outputs.GetValueOrDefault("token_attention")?.ToSingles();
        return [.. Enumerable.Range(0, rows.Count).Select(row => new FusionExplanation(scores[row],
            [.. Enumerable.Range(0, tokens).Select(t => Enumerable.Range(0, latents).Average(m => attention[(row * latents + m) * tokens + t]))],
            pairs is null ? [] : pairs.AsSpan(row * tokens * tokens, tokens * tokens).ToArray().Chunk(tokens).ToArray()))];
    }

    /// <summary>A name for each token: <c>none</c> for the one that is always there, <c>image</c> for a class token and
    /// <c>image 2,3</c> for the patch in row 2 and column 3, <c>text 0</c>, <c>audio 1,4</c> (mel patch 1, time patch 4), and the
    /// names of the numeric columns.</summary>
    public IReadOnlyList<string> TokenNames => ["none", .. Model.Tokens.SelectMany(Names)];

    IEnumerable<string> Names(FusionTokens tokens)
    {
        if (tokens.Modality is not { } modality) return Model.Config.Features!.Names;
        string name = modality.ToString().ToLowerInvariant();
        IEnumerable<string> prefix = Enumerable.Repeat(name, tokens.Prefix);
        return modality == Modality.Text ? Enumerable.Range(0, tokens.Columns).Select(i => $"{name} {i}")
            : prefix.Concat(Enumerable.Range(0, tokens.Rows * tokens.Columns).Select(i => $"{name} {i / tokens.Columns},{i % tokens.Columns}"));
    }

    /// <summary>Closes the sessions and the weights. No other call may be under way.</summary>
    public void Dispose()
    {
        foreach (Lazy<OnnxSession> session in new[] { _predictor, _explainer })
            if (session.IsValueCreated) session.Value.Dispose();
        _file.Dispose();
    }
}
