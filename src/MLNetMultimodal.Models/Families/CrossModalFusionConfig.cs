using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>What a fusion model predicts.</summary>
public enum FusionTask
{
    /// <summary>One of several classes.</summary>
    Multiclass,

    /// <summary>Yes or no.</summary>
    Binary,

    /// <summary>A number.</summary>
    Regression,
}

/// <summary>How the latents of a fusion model become one row.</summary>
public enum FusionPooling
{
    /// <summary>Their mean.</summary>
    Mean,

    /// <summary>A learned query attends to them (<see cref="AttentionPooling"/>).</summary>
    Attention,
}

/// <summary>Sizes of the tower of numeric columns: a token of each number, then a Transformer.</summary>
public sealed record FeatureConfig
{
    /// <summary>The most columns: each is a token, and tokens look at each other.</summary>
    public const int MaxColumns = 4096;

    /// <summary>A name for each column, at least one.</summary>
    public required IReadOnlyList<string> Names
    {
        get;
        init => field = value.Count is >= 1 and <= MaxColumns ? value
            : throw new ArgumentException($"a fusion model takes 1 to {MaxColumns} numeric columns, but has {value.Count}.", nameof(Names));
    }

    /// <summary>Sizes of the blocks; none of them may be there.</summary>
    public TransformerConfig Blocks { get; init; } = new(1, 64, 128, 4, Activation.Gelu);
}

/// <summary>Sizes of <see cref="CrossModalFusion"/>. At least one of <see cref="Vision"/>, <see cref="Text"/>, <see cref="Audio"/> and
/// <see cref="Features"/> is there.</summary>
public sealed record CrossModalFusionConfig
{
    /// <summary>What is predicted.</summary>
    public required FusionTask Task { get; init; }

    /// <summary>Names of the classes of a <see cref="FusionTask.Multiclass"/>, at least one; else none.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];

    /// <summary>The tower of pictures; null for none.</summary>
    public VisionConfig? Vision { get; init; }

    /// <summary>The tower of texts; null for none.</summary>
    public ClipTextConfig? Text { get; init; }

    /// <summary>The tower of sounds; null for none.</summary>
    public AstConfig? Audio { get; init; }

    /// <summary>The tower of numbers; null for none.</summary>
    public FeatureConfig? Features { get; init; }

    /// <summary>The block in which all tokens look at each other; it may have no layers.</summary>
    public TransformerConfig Joint { get; init; } = new(1, 64, 128, 4, Activation.Gelu);

    /// <summary>The block in which a few learned tokens collect what they need from all others. Both its widths are those of
    /// <see cref="Joint"/>.</summary>
    public LatentBottleneckConfig Bottleneck { get; init; } = new(1, 4, 64, 64, 128, 4);

    /// <summary>How its latents become one row.</summary>
    public FusionPooling Pooling { get; init; }

    /// <summary>Width of the middle of a <see cref="GatedAdapter"/> after each tower; 0 for none.</summary>
    public int AdapterWidth { get; init; }

    /// <summary>C: scores of a row; 1 of a binary or regression model.</summary>
    public int Outputs => Task == FusionTask.Multiclass ? Labels.Count : 1;

    /// <summary>D of the fused tokens.</summary>
    public int Width => Joint.Width;

    /// <summary>The smallest that has every part, for tests.</summary>
    public static CrossModalFusionConfig Tiny => new()
    {
        Task = FusionTask.Multiclass,
        Labels = ["a", "b", "c"],
        Vision = new() { ImageSize = 8, PatchSize = 4, Blocks = new(1, 16, 32, 2, Activation.Gelu) },
        Text = new() { VocabularySize = 50, ContextLength = 8, EndTokenId = 49, Blocks = new(1, 16, 32, 2, Activation.Gelu) },
        Audio = new() { Frames = 16, MelBins = 16, PatchSize = 8, Stride = 8, Blocks = AstConfig.Tiny.Blocks with { Layers = 1, Width = 8, MlpWidth = 16 } },
        Features = new() { Names = ["x", "y", "z"], Blocks = new(1, 8, 16, 2, Activation.Gelu) },
        Joint = new(1, 16, 32, 2, Activation.Gelu),
        Bottleneck = new(1, 3, 16, 16, 32, 2),
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static CrossModalFusionConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        string task = root.Text("task", "");
        ConfigReader fusion = root.Section("fusion_config"), labels = root.Section("id2label");
        TransformerConfig joint = fusion.Section("joint").Blocks(new CrossModalFusionConfig { Task = default }.Joint, minLayers: 0);
        var config = new CrossModalFusionConfig
        {
            Task = Enum.GetValues<FusionTask>().Cast<FusionTask?>().FirstOrDefault(t => Named(t!.Value) == task)
                ?? throw new InvalidDataException($"task must be multiclass, binary or regression, but is '{task}'."),
            Labels = [.. Enumerable.Range(0, root.Int("num_labels", 0, min: 0)).Select(i => labels.Text(Key(i), Key(i)))],
            Vision = root.Has("vision_config") ? VisionConfig.FromJson(root.Section("vision_config")) : null,
            Text = root.Has("text_config") ? ClipTextConfig.FromJson(root.Section("text_config")) : null,
            Audio = root.Has("audio_config") ? AstConfig.FromJson(json.GetProperty("audio_config")) : null,
            Features = root.Has("features_config") ? ReadFeatures(root.Section("features_config")) : null,
            Joint = joint,
            Bottleneck = ReadBottleneck(fusion.Section("bottleneck"), joint.Width),
            Pooling = fusion.Text("pooling", "mean") switch
            {
                "mean" => FusionPooling.Mean,
                "attention" => FusionPooling.Attention,
                var other => throw new InvalidDataException($"fusion_config.pooling must be mean or attention, but is '{other}'."),
            },
            AdapterWidth = fusion.Int("adapter_width", 0, min: 0),
        };
        config.Validate();
        return config;
    }

    static FeatureConfig ReadFeatures(ConfigReader json) => new()
    {
        Names = json.Texts("names", FeatureConfig.MaxColumns),
        Blocks = json.Blocks(new FeatureConfig { Names = ["x"] }.Blocks, minLayers: 0),
    };

    static LatentBottleneckConfig ReadBottleneck(ConfigReader json, int width)
    {
        TransformerConfig blocks = json.Blocks(new CrossModalFusionConfig { Task = default }.Joint with { Width = width });
        return new(blocks.Layers, json.Int("num_latents", 4), blocks.Width, width, blocks.MlpWidth, blocks.Heads, blocks.Activation, blocks.NormEpsilon)
        {
            Rank = json.Int("rank", blocks.Width),
            Gated = json.Flag("gated", false),
            Experts = json.Int("num_experts", 0, min: 0, max: 1024),
            ChosenExperts = json.Int("num_experts_per_token", 2, max: 1024),
        };
    }

    /// <summary>Writes a config.json.</summary>
    public string ToJson()
    {
        JsonObject fusion = new()
        {
            ["joint"] = Write(Joint),
            ["bottleneck"] = Write(Bottleneck.Block),
            ["pooling"] = Pooling == FusionPooling.Mean ? "mean" : "attention",
            ["adapter_width"] = AdapterWidth,
        };
        JsonNode bottleneck = fusion["bottleneck"]!;
        bottleneck["num_latents"] = Bottleneck.Latents;
        bottleneck["rank"] = Bottleneck.Rank;
        bottleneck["gated"] = Bottleneck.Gated;
        bottleneck["num_experts"] = Bottleneck.Experts;
        bottleneck["num_experts_per_token"] = Bottleneck.ChosenExperts;
        JsonObject json = new() { ["model_type"] = CrossModalFusionModel.Type, ["task"] = Named(Task), ["num_labels"] = Labels.Count };
        if (Labels.Count > 0) json["id2label"] = new JsonObject(Labels.Select((l, i) => KeyValuePair.Create(Key(i), (JsonNode?)l)));
        if (Vision is not null) json["vision_config"] = Vision.ToJson(Width);
        if (Text is not null) json["text_config"] = Text.ToJson(Width);
        if (Audio is not null) json["audio_config"] = JsonNode.Parse(Audio.ToJson());
        if (Features is not null)
        {
            JsonObject features = Write(Features.Blocks);
            features["names"] = new JsonArray([.. Features.Names.Select(n => JsonValue.Create(n))]);
            json["features_config"] = features;
        }
        json["fusion_config"] = fusion;
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";

        static JsonObject Write(TransformerConfig c)
        {
            JsonObject blocks = ClipConfig.WriteBlocks(c, "", 0);
            blocks.Remove("model_type");
            blocks.Remove("projection_dim");
            return blocks;
        }
    }

    static string Key(int index) => index.ToString(CultureInfo.InvariantCulture);

    static string Named(FusionTask task) => task.ToString().ToLowerInvariant();

    /// <exception cref="InvalidDataException">Sizes that do not fit together.</exception>
    internal void Validate()
    {
        LatentBottleneckConfig b = Bottleneck;
        if (Vision is null && Text is null && Audio is null && Features is null)
            throw new InvalidDataException("a fusion model wants at least one of vision_config, text_config, audio_config and features_config.");
        if (Task == FusionTask.Multiclass != Labels.Count > 0)
            throw new InvalidDataException($"a {Named(Task)} model cannot have {Labels.Count} labels.");
        if (b.Width != Width || b.ContextWidth != Width)
            throw new InvalidDataException($"the bottleneck's width {b.Width} must be that of the fused tokens, {Width}.");
        if (b.Rank % b.Heads != 0) throw new InvalidDataException($"rank {b.Rank} must be a multiple of num_attention_heads {b.Heads}.");
        if (b.Experts == 1 || (b.Experts > 1 && b.ChosenExperts > b.Experts))
            throw new InvalidDataException($"num_experts {b.Experts} must be 0 or at least 2 and num_experts_per_token {b.ChosenExperts} at most that.");
    }
}
