using System.Numerics.Tensors;
using System.Text.Json;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A folder that holds recorded graphs and no weights, as Transformers.js and Python's optimum have them: a
/// <c>vision_model</c> and a <c>text_model</c>, or one <c>model</c> of both senses or of one, in <c>onnx/</c> or beside the
/// config.</summary>
sealed class GraphFolder
{
    const string Config = "config.json", Whole = "model", Extension = ".onnx";
    const string TextEmbeds = "text_embeds", ImageEmbeds = "image_embeds", Pooled = "pooler_output";
    const string PerImage = "logits_per_image";

    const int MaxSide = 1 << 14, MaxLength = 1 << 20;

    static readonly Dictionary<Modality, string> Towers =
        new() { [Modality.Image] = "vision_model", [Modality.Text] = "text_model" };
    static readonly string[] ProbeTexts =
        ["a", "red", "two small dogs", "the sea at night", "x 9 !", "portrait of a king", "bread", "map"];
    static readonly string[] Tokens = ["last_hidden_state", "token_embeddings"];

    readonly ModelFiles _files;
    readonly Func<TextTokenizer> _texts;
    readonly JsonElement _config;
    readonly IModelDefinition? _known;
    readonly IReadOnlyDictionary<string, Graph> _graphs;

    /// <summary>A graph that was chosen: its head and its session, read and opened when first used.</summary>
    sealed record Graph(Lazy<OnnxFile> File, Lazy<OnnxSession> Session);

    GraphFolder(ModelFiles files, InferenceOptions options, Func<TextTokenizer> texts)
    {
        (_files, _texts) = (files, texts);
        _config = ReadConfig(files);
        _known = Known(files, options.Families);
        _graphs = Choose(files, options.Dtype).ToDictionary(g => g.Key, g =>
        {
            var file = new Lazy<OnnxFile>(() => OnnxFile.Read(files, g.Value));
            return new Graph(file, new(() => file.Value.Open(options)));
        }, StringComparer.Ordinal);
    }

    /// <summary>True where there is nothing else to run than graphs.</summary>
    /// <param name="files">The folder.</param>
    public static bool Matches(ModelFiles files) =>
        !ModelWeights.Exist(files) && files.List().Any(f => f.EndsWith(Extension, StringComparison.Ordinal));

    /// <summary>Looks at the graphs; sessions are opened when first used.</summary>
    /// <param name="files">The folder.</param>
    /// <param name="options">Threads, dtype, families.</param>
    /// <param name="texts">The folder's tokenizer.</param>
    /// <exception cref="FileNotFoundException">There is no config.json, or no graph of the wanted name and dtype.</exception>
    /// <exception cref="InvalidDataException">A graph is not sound, or makes no embeddings; the message names it.</exception>
    /// <exception cref="NotSupportedException">A graph wants other inputs than pictures and texts, or there is an
    /// adapter.</exception>
    public static ModelRuntime Open(ModelFiles files, InferenceOptions options, Func<TextTokenizer> texts)
    {
        if (options.Adapter is not null) throw GraphModel.NoProgram(files.Name);
        var folder = new GraphFolder(files, options, texts);
        Dictionary<Modality, GraphEncoder> encoders = folder.Encoders();
        var whole = new Lazy<GraphInputs?>(folder.WholeInputs);
        var inputs = new Lazy<IReadOnlyList<TensorSpec>>(
            () => whole.Value?.Required ?? [.. encoders.Values.Select(e => e.Input)]);
        Dictionary<Modality, IProgram> programs = encoders.ToDictionary(
            e => e.Key, e => (IProgram)new GraphModel.Program(files.Name, Towers[e.Key], new([e.Value.Input])));
        return new()
        {
            Definition = new GraphModel(files, folder.ModelType, encoders.Values.First().Width, programs,
                new GraphModel.Program(files.Name, Whole, inputs)),
            Encoders = encoders.ToDictionary(e => e.Key, e => (Func<IEncoder>)(() => e.Value)),
            RunFull = given => whole.Value is { } graph && encoders.Count > 1
                ? folder._graphs[Whole].Session.Value.Run(graph.Complete(given))
                : encoders.Values.SelectMany(e => e.Run(given)).ToDictionary(StringComparer.Ordinal),
            LogitScale = new(() => whole.Value is { } graph ? folder.Scale(graph) : 1),
            Sessions = [.. folder._graphs.Values.Select(g => g.Session)],
            GraphFiles = new(() => [.. folder._graphs.Values.Select(g => g.File.Value)
                .SelectMany(f => f.External.Prepend(f.Path)).Distinct().Order(StringComparer.Ordinal)]),
        };
    }

    string ModelType => new ConfigReader(_config).Text("model_type", "");

    static JsonElement ReadConfig(ModelFiles files)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(files.Read(Config), new() { MaxDepth = 32 });
            return document.RootElement.ValueKind == JsonValueKind.Object ? document.RootElement.Clone()
                : throw new InvalidDataException($"{Config} of '{files.Name}' is no JSON object.");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{Config} of '{files.Name}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>The family's sizes where it is known; a graph needs none.</summary>
    static IModelDefinition? Known(ModelFiles files, IReadOnlyList<ModelFamily> families)
    {
        try
        {
            return ModelFamilies.Create(files, families);
        }
        catch (NotSupportedException)
        {
            return null;
        }
    }

    /// <summary>A file for each graph: of the wanted dtype, else of the best there is.</summary>
    static Dictionary<string, string> Choose(ModelFiles files, OnnxDtype? dtype)
    {
        string[] names = [.. Towers.Values, Whole];
        OnnxDtype[] all = Enum.GetValues<OnnxDtype>();
        string Path(string folder, string name, OnnxDtype of) => $"{folder}{name}{OnnxExport.Suffix(of)}{Extension}";
        string? Find(string folder, string name, IEnumerable<OnnxDtype> dtypes) =>
            dtypes.Select(d => Path(folder, name, d)).FirstOrDefault(files.Contains);

        string folder = Array.Find(names, n => Find("onnx/", n, all) is not null) is null ? "" : "onnx/";
        Dictionary<string, string> chosen = names.Select(n => (Name: n, File: Find(folder, n, dtype is { } only ? [only] : all)))
            .Where(g => g.File is not null).ToDictionary(g => g.Name, g => g.File!, StringComparer.Ordinal);
        bool lacksTower = !chosen.ContainsKey(Whole)
            && Towers.Values.Any(t => !chosen.ContainsKey(t) && Find(folder, t, all) is not null);
        return chosen.Count > 0 && !lacksTower ? chosen : throw new FileNotFoundException(
            $"'{files.Name}' lacks {(dtype is null ? "" : $"the dtype {dtype} of ")}its graphs: wanted are "
            + string.Join(" and ", Towers.Values.Select(t => Path("onnx/", t, dtype ?? default)))
            + $", or {Path("onnx/", Whole, dtype ?? default)}; "
            + $"there are {string.Join(", ", files.List().Where(f => f.EndsWith(Extension, StringComparison.Ordinal)))}.");
    }

    Dictionary<Modality, GraphEncoder> Encoders()
    {
        var encoders = new Dictionary<Modality, GraphEncoder>();
        foreach (var (modality, tower) in Towers)
        {
            if (!_graphs.TryGetValue(tower, out Graph? graph) && !_graphs.TryGetValue(Whole, out graph)) continue;
            OnnxFile file = graph.File.Value;
            GraphInputs.Check(file);
            if (!Takes(file, modality)) continue;
            bool isTower = _graphs.ContainsKey(tower), isShared = Towers.Keys.All(m => Takes(file, m));
            GraphOutput output = Output(file, modality, isTower, isShared);
            encoders[modality] = new(file, graph.Session, Inputs(file), modality, output, isTower);
        }
        int[] widths = [.. encoders.Values.Select(e => e.Output.Shape[^1]).Where(w => w.IsKnown).Select(w => w.Size).Distinct()];
        if (encoders.Count == 0)
            throw new InvalidDataException($"{string.Join(", ", _graphs.Values.Select(g => $"'{g.File.Value.FullName}' takes "
                + string.Join(", ", g.File.Value.Inputs)))}; wanted are {GraphInputs.Pixels} or {GraphInputs.Ids}.");
        return widths.Length < 2 ? encoders : throw new InvalidDataException($"'{_files.Name}' has graphs that give embeddings of "
            + $"{string.Join(" and ", widths)} values; they must meet in one space.");
    }

    static bool Takes(OnnxFile file, Modality modality) =>
        file.Inputs.Any(i => i.Name == (modality == Modality.Image ? GraphInputs.Pixels : GraphInputs.Ids));

    /// <summary>What to embed with: a projection, else what the graph has pooled itself, else its tokens. A text encoder of its
    /// own is pooled as its modules say, or by the mean; a picture's first token stands for all.</summary>
    GraphOutput Output(OnnxFile file, Modality modality, bool isTower, bool isShared)
    {
        bool image = modality == Modality.Image;
        string[] tokens = isShared ? [] : Tokens, pooled = isShared ? [] : [Pooled];
        string[] embeds = image ? [ImageEmbeds] : isShared ? [TextEmbeds] : [TextEmbeds, "sentence_embedding"];
        string[] order = [.. embeds, .. isTower ? pooled.Concat(tokens) : tokens.Concat(pooled)];
        TensorSpec? spec = order.Select(name => file.Outputs.FirstOrDefault(o => o.Name == name && o.Type == ElementType.Float32
            && o.Shape.Length == (Tokens.Contains(name) ? 3 : 2))).FirstOrDefault(o => o is not null);
        if (spec is null)
        {
            IEnumerable<string> gives = file.Outputs.Select(o => $"{o}").Concat(file.OtherOutputs.Select(o => $"{o} of another type"));
            throw new InvalidDataException($"'{file.FullName}' gives {string.Join(", ", gives)}; an embedding of "
                + $"{(image ? "pictures" : "texts")} is one of {string.Join(", ", order)}, as floats of 32 bits.");
        }
        return new(spec, !Tokens.Contains(spec.Name) ? null : image ? BertPooling.FirstToken
            : _files.Contains(SentenceTransformer.ModulesFile) ? SentenceTransformer.ReadPooling(_files) : BertPooling.Mean);
    }

    GraphInputs? WholeInputs()
    {
        if (!_graphs.TryGetValue(Whole, out Graph? graph)) return null;
        GraphInputs.Check(graph.File.Value);
        return Inputs(graph.File.Value);
    }

    /// <summary>The slope of logits over cosines, by least squares: what is added to them (SigLIP) falls out.</summary>
    float Scale(GraphInputs inputs)
    {
        OnnxFile file = _graphs[Whole].File.Value;
        string[] names = [PerImage, ImageEmbeds, TextEmbeds];
        TensorSpec[] outputs = [.. names.Select(n => file.Outputs.FirstOrDefault(o => o.Name == n)).OfType<TensorSpec>()];
        if (outputs.Length < names.Length || inputs.Required.Count < 2) return 1;
        TextTokenizer tokenizer = _texts();
        int length = inputs.Required[1].Shape[1] is { IsKnown: true } known ? known.Size
            : ProbeTexts.Max(t => tokenizer.Encode(t).Count);
        var ids = new long[ProbeTexts.Length * length];
        tokenizer.EncodeBatch(ProbeTexts, length, ids, []);
        long[] picture = [1, .. inputs.Required[0].Shape[1..].Select(d => (long)d.Size)];
        var random = new Random(1);
        int count = (int)picture.Aggregate((a, b) => a * b);
        float[] pixels = [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
        Dictionary<string, TensorData> given = inputs.Complete(new Dictionary<string, TensorData>
        {
            [GraphInputs.Pixels] = TensorData.From(pixels, picture),
            [GraphInputs.Ids] = TensorData.From(ids, ProbeTexts.Length, length),
        });
        IReadOnlyDictionary<string, TensorData> run = _graphs[Whole].Session.Value.Run(given, outputs);
        float[] logits = run[PerImage].ToSingles(), image = run[ImageEmbeds].ToSingles();
        float[] cosines = [.. run[TextEmbeds].ToSingles().Chunk(image.Length)
            .Select(text => TensorPrimitives.CosineSimilarity<float>(image, text))];
        double meanCosine = cosines.Average(), meanLogit = logits.Average();
        double spread = cosines.Sum(c => (c - meanCosine) * (c - meanCosine));
        double slope = cosines.Zip(logits, (c, l) => (c - meanCosine) * (l - meanLogit)).Sum() / spread;
        return slope > 0 && double.IsFinite(slope) ? (float)slope : throw new InvalidDataException(
            $"'{file.FullName}' gives {PerImage} that do not grow with the similarity of pictures and texts.");
    }

    GraphInputs Inputs(OnnxFile file)
    {
        TensorSpec? Find(string name) => file.Inputs.FirstOrDefault(i => i.Name == name);
        return new(file, Find(GraphInputs.Pixels) is { } pixels ? Pixels(file, pixels) : null,
            Find(GraphInputs.Ids) is { } ids ? Ids(file, ids) : null, _texts);
    }

    /// <summary>[batch, C, H, W], sizes from the graph, the preprocessing or the family.</summary>
    TensorSpec Pixels(OnnxFile file, TensorSpec found)
    {
        if (found.Shape.Length != 4 || found.Shape[1..].Any(d => d.Size > MaxSide))
            throw Unusable(file, found, $"[batch, channels, height, width], each at most {MaxSide}");
        ImagePreprocessing? images = ImagePreprocessing.TryLoad(_files.TryRead);
        Dim[]? family = _known?.Encoders.GetValueOrDefault(Modality.Image)?.Inputs[0].Shape;
        int? Size(int axis, int? made) => found.Shape[axis] is { IsKnown: true } d ? d.Size : made ?? family?[axis].Size;
        return Size(2, images?.Height) is { } height && Size(3, images?.Width) is { } width
            ? new(found.Name, found.Type, Dim.Dynamic("batch"), Size(1, 3)!.Value, height, width)
            : throw new FileNotFoundException(
                $"'{_files.Name}' has no preprocessor_config.json, and '{file.Path}' takes pictures of any size.");
    }

    /// <summary>[batch, L]: a fixed length of the graph or the family, or a typical one.</summary>
    TensorSpec Ids(OnnxFile file, TensorSpec found)
    {
        if (found.Shape.Length != 2 || found.Shape[1].Size > MaxLength)
            throw Unusable(file, found, $"[batch, sequence], the sequence at most {MaxLength}");
        int most = Math.Min(new ConfigReader(_config).Int("max_position_embeddings", int.MaxValue),
            SentenceTransformer.ReadLength(_files) ?? int.MaxValue);
        Dim length = found.Shape[1].IsKnown ? found.Shape[1]
            : _known?.Encoders.GetValueOrDefault(Modality.Text)?.Inputs[0].Shape[1]
                ?? Dim.Dynamic("sequence", most == int.MaxValue ? 1 : most);
        return new(found.Name, found.Type, Dim.Dynamic("batch"), length);
    }

    static InvalidDataException Unusable(OnnxFile file, TensorSpec found, string wanted) =>
        new($"'{file.FullName}' takes {found}; wanted is {wanted}.");
}
