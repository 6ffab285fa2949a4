using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference;

/// <summary>What a loaded model runs on: sessions recorded from its weights, or graphs that lie in its folder.</summary>
sealed class ModelRuntime : IDisposable
{
    /// <summary>Programs and sizes.</summary>
    public required IModelDefinition Definition { get; init; }

    /// <summary>One per sense; its session is opened when it is first asked for.</summary>
    public required IReadOnlyDictionary<Modality, Func<IEncoder>> Encoders { get; init; }

    /// <summary>The whole model: all its inputs to all its outputs.</summary>
    public required Func<IReadOnlyDictionary<string, TensorData>, IReadOnlyDictionary<string, TensorData>> RunFull { get; init; }

    /// <summary>Pictures and texts together: the program of matches, and the one that gives attention maps too; null for a model that has
    /// none.</summary>
    public Func<IReadOnlyDictionary<string, TensorData>, IReadOnlyDictionary<string, TensorData>>? RunPair { get; init; }

    /// <inheritdoc cref="RunPair"/>
    public Func<IReadOnlyDictionary<string, TensorData>, IReadOnlyDictionary<string, TensorData>>? RunAttention { get; init; }

    /// <summary>What similarities are multiplied with.</summary>
    public required Lazy<float> LogitScale { get; init; }

    /// <summary>Every session there may be.</summary>
    public required IReadOnlyList<Lazy<OnnxSession>> Sessions { get; init; }

    /// <summary>Weights by name, and the file they are mapped to; null where only recorded graphs are there.</summary>
    public (IReadOnlyDictionary<string, TensorData> Values, IDisposable File)? Weights { get; init; }

    /// <summary>The graphs of the folder that are run, and the files of their weights; none where the model is
    /// recorded.</summary>
    public Lazy<IReadOnlyList<string>> GraphFiles { get; init; } = new([]);

    /// <summary>Records programs from the folder's weights.</summary>
    public static ModelRuntime FromWeights(ModelFiles files, InferenceOptions options)
    {
        OnnxDtype dtype = options.Dtype ?? OnnxDtype.Fp32;
        if (!OnnxExport.Dtypes.Contains(dtype))
            throw new NotSupportedException($"'{files.Name}' has weights, which run as {string.Join(", ", OnnxExport.Dtypes)}, "
                + $"but not as {dtype}; that is for folders of graphs only.");
        IModelDefinition definition = WithoutPrompt(AtItsSize(ModelFamilies.Create(files, options.Families), files), files);
        ModelWeights file = files.OpenWeights();
        try
        {
            IReadOnlyDictionary<string, TensorData> weights = CheckpointWeights.For(definition, file, files.Name);
            if (options.Adapter is { } adapter) weights = adapter.Merge(weights);
            float scale = definition.LogitScale is null ? 1 : MathF.Exp(weights[definition.LogitScale].ToSingles()[0]);
            var sessions = new List<Lazy<OnnxSession>>();
            Lazy<OnnxSession> Session(IProgram program)
            {
                var session = new Lazy<OnnxSession>(() => OnnxSession.Open(program, weights, options));
                sessions.Add(session);
                return session;
            }
            Func<IEncoder> Encoder(IProgram program)
            {
                if (program is ICausalTextProgram text)
                {
                    var sharing = new PrefixSharingEncoder(text, Session(text.SharingPrefixes), options.FusesAttention ? Session(text) : null);
                    return () => sharing;
                }
                Lazy<OnnxSession> session = Session(program);
                return () => session.Value;
            }
            Lazy<OnnxSession> full = Session(definition.Full);
            Lazy<OnnxSession>? pair = (definition as IPairDefinition)?.Pair is { } match ? Session(match) : null;
            Lazy<OnnxSession>? attention = (definition as IPairDefinition)?.AttentionMaps is { } maps ? Session(maps) : null;
            return new()
            {
                Definition = definition,
                Encoders = definition.Encoders.ToDictionary(e => e.Key, e => Encoder(e.Value)),
                RunFull = inputs => full.Value.Run(inputs),
                RunPair = pair is null ? null : inputs => pair.Value.Run(inputs),
                RunAttention = attention is null ? null : inputs => attention.Value.Run(inputs),
                LogitScale = new(scale),
                Sessions = sessions,
                Weights = (weights, file),
            };
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The model for pictures of the size that its preprocessing makes, where it can take other sizes than in
    /// training.</summary>
    static IModelDefinition AtItsSize(IModelDefinition definition, ModelFiles files) =>
        definition.Encoders.ContainsKey(Modality.Image) && ImagePreprocessing.TryLoad(files.TryRead) is { } images
            && images.Height == images.Width ? definition.WithImageSize(images.Height) : definition;

    /// <summary>The model that knows how many tokens its prompt has, where those are not pooled: all but the end token.</summary>
    static IModelDefinition WithoutPrompt(IModelDefinition definition, ModelFiles files) =>
        definition is { TextPrompt: { } prompt, PoolsPrompt: false }
            ? definition.WithPromptTokens(TextTokenizer.Load(files.TryRead, files.Name).Encode(prompt).Count - 1) : definition;

    public void Dispose()
    {
        foreach (Lazy<OnnxSession> session in Sessions)
            if (session.IsValueCreated) session.Value.Dispose();
        Weights?.File.Dispose();
    }
}
