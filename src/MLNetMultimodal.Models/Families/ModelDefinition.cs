using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A sense.</summary>
public enum Modality
{
    /// <summary>Still pictures.</summary>
    Image,

    /// <summary>Written language.</summary>
    Text,

    /// <summary>Sound.</summary>
    Audio,
}

/// <summary>A model: its programs and what stands in its config. Weights are not part of it.</summary>
public interface IModelDefinition
{
    /// <summary><c>model_type</c> of config.json.</summary>
    string ModelType { get; }

    /// <summary>E, the width of the shared embedding space.</summary>
    int EmbeddingWidth { get; }

    /// <summary>One program per sense; its first output is the embedding, [B, E], of length 1.</summary>
    IReadOnlyDictionary<Modality, IProgram> Encoders { get; }

    /// <summary>The whole model: all inputs, all outputs that the reference implementation names.</summary>
    IProgram Full { get; }

    /// <summary>What the exported graph <c>model</c> of <see cref="Graphs"/> is: <see cref="Full"/>, or the same with inputs that
    /// published graphs have beside.</summary>
    IProgram Exported => Full;

    /// <summary>The graphs of an exported <c>onnx</c> folder by file name without extension, as published ones have them: for
    /// each output of a graph the output of <see cref="Full"/> that it is. By default one graph <c>model</c> of them
    /// all, which null stands for.</summary>
    IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>>? Graphs => null;

    /// <summary>Name of the scalar weight whose exponential multiplies similarities; null where the family has none.</summary>
    string? LogitScale { get; }

    /// <summary>Weights of a checkpoint that this model has no use for: buffers that are computed here, heads for other tasks.
    /// A name that ends in a dot stands for all that begin with it.</summary>
    IReadOnlyList<string> IgnoredWeights { get; }

    /// <summary>The config in the published schema.</summary>
    string ToConfigJson();

    /// <summary>A checkpoint in another known naming under the names of this model; by default as it is.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) => weights;

    /// <summary>The same model for pictures of another size, its positions interpolated by <see cref="Rename"/>; by default
    /// the model as it is.</summary>
    /// <param name="size">Edge of the picture in pixels.</param>
    IModelDefinition WithImageSize(int size) => this;

    /// <summary>The fewest samples of a sound that the model can embed; by default 1. Of a family that takes the samples
    /// themselves it is what its convolutions make one token of.</summary>
    int MinSamples => 1;

    /// <summary>What stands before every text that is embedded, for example <c>query: </c>; null for nothing.</summary>
    string? TextPrompt => null;

    /// <summary>True where what a text is filled up with does not change its embedding, so that texts of different lengths may run
    /// together; by default only those of one length do.</summary>
    bool IgnoresPadding => false;

    /// <summary>False for a model that reads the prompt's tokens and leaves them out of the embedding: it is to be told their
    /// number by <see cref="WithPromptTokens"/>.</summary>
    bool PoolsPrompt => true;

    /// <summary>The same model, which leaves the first tokens of every text out of its embedding; by default the model as it
    /// is.</summary>
    /// <param name="tokens">Tokens of the prompt, with the begin token.</param>
    IModelDefinition WithPromptTokens(int tokens) => this;
}

/// <summary>Published graphs that several families share.</summary>
static class PublishedGraphs
{
    /// <summary>Both towers and their similarities, as optimum and Transformers.js name them.</summary>
    public static readonly IReadOnlyDictionary<string, string> Model =
        new[] { "logits_per_image", "logits_per_text", "text_embeds", "image_embeds" }.ToDictionary(n => n);
}

/// <summary>What follows from a definition.</summary>
public static class ModelDefinitionExtensions
{
    extension(IModelDefinition model)
    {
        /// <summary>The most tokens of a text: the size of the text input's second dimension, known or typical; null where there
        /// is none above 1.</summary>
        public int? ContextLength => model.TextLength is { Size: > 1 } length ? length.Size : null;

        /// <summary>L of a batch of texts whose longest has <paramref name="longest"/> tokens: just that, or the fixed length of
        /// a model that wants every text filled up to it (SigLIP).</summary>
        /// <param name="longest">Tokens.</param>
        public int PaddedLength(int longest) => model.TextLength is { IsKnown: true } length ? length.Size : longest;

        /// <summary>Which texts run together: neighbours of about one length, so that filling them up to the longest costs less than
        /// another run; of just one length where the model does not ignore padding.</summary>
        /// <param name="lengths">Tokens of each text, ascending.</param>
        /// <param name="most">Texts of a batch, at least 1.</param>
        /// <returns>The first text and the number of texts of each batch.</returns>
        public IReadOnlyList<(int First, int Count)> TextBatches(IReadOnlyList<int> lengths, int most)
        {
            // Measured on CLIP ViT-B/32's text tower: a run of its own costs as much as some 40 tokens more.
            const int runTokens = 40;
            const double mostPadded = 1.25;
            var batches = new List<(int First, int Count)>();
            for (int first = 0, sum = 0, i = 0; i < lengths.Count; i++)
            {
                int count = i + 1 - first;
                sum += model.PaddedLength(lengths[i]);
                if (i + 1 < lengths.Count && count < most)
                {
                    int next = model.PaddedLength(lengths[i + 1]), limit = model.IgnoresPadding ? (int)(mostPadded * (sum + next)) + runTokens : sum + next;
                    if (next * (count + 1) <= limit) continue;
                }
                batches.Add((first, count));
                (first, sum) = (i + 1, 0);
            }
            return batches;
        }

        Dim? TextLength => model.Encoders.TryGetValue(Modality.Text, out IProgram? text) ? text.Inputs[0].Shape[1] : null;
    }
}

/// <summary>How a family is recognised and made.</summary>
/// <param name="ModelType"><c>model_type</c> of its config.json.</param>
/// <param name="Create">Makes the model from the root of config.json.</param>
public sealed record ModelFamily(string ModelType, Func<JsonElement, IModelDefinition> Create);

/// <summary>The families that this library knows.</summary>
public static class ModelFamilies
{
    /// <summary>All of them. A stranger's family is put beside them: <c>[.. ModelFamilies.BuiltIn, new("mine", config =>
    /// …)]</c>.</summary>
    public static IReadOnlyList<ModelFamily> BuiltIn { get; } =
    [
        new("clip", json => new ClipModel(ClipConfig.FromJson(json))),
        new(AudioDualEncoderModel.Type, json => new AudioDualEncoderModel(AudioDualEncoderConfig.FromJson(json))),
        new("audio-spectrogram-transformer", json => new AstModel(AstConfig.FromJson(json))),
        new("whisper", json => new WhisperEncoderModel(WhisperConfig.FromJson(json))),
        new("data2vec-audio", json => new Data2VecAudioModel(Data2VecAudioConfig.FromJson(json))),
        new(CrossModalFusionModel.Type, json => new CrossModalFusionModel(CrossModalFusionConfig.FromJson(json))),
        new(FrameSoundFusionModel.Type, json => new FrameSoundFusionModel(FrameSoundFusionConfig.FromJson(json))),
        new("encodec", json => new EncodecModel(EncodecConfig.FromJson(json))),
        new(VqTokenizerModel.Type, json => new VqTokenizerModel(VqTokenizerConfig.FromJson(json))),
        new("vlmo", json => new VlmoModel(VlmoConfig.FromJson(json))),
        new("vit_mae", json => new MaeModel(MaeConfig.FromJson(json))),
        new("siglip", json => new SiglipModel(SiglipConfig.FromJson(json))),
        new("vision-text-dual-encoder", json => new VisionTextDualEncoderModel(VisionTextDualEncoderConfig.FromJson(json))),
        new("blip", json => new BlipModel(BlipConfig.FromJson(json))),
        new("albef", json => new AlbefModel(AlbefConfig.FromJson(json))),
        .. BeitConfig.ModelTypes.Select(type => new ModelFamily(type, json => new BeitModel(BeitConfig.FromJson(json)))),
        .. VitConfig.ModelTypes.Select(type => new ModelFamily(type, json => new VitModel(VitConfig.FromJson(json)))),
        .. BertConfig.ModelTypes.Select(type => new ModelFamily(type, json => new BertModel(BertConfig.FromJson(json), BertPooling.Mean))),
    ];

    /// <summary>Makes the model that a folder describes: <c>config.json</c>; with <c>modules.json</c> a folder of
    /// sentence-transformers, with <c>open_clip_config.json</c> one of OpenCLIP.</summary>
    /// <param name="files">The folder's files.</param>
    /// <param name="families">Families to choose from; null for <see cref="BuiltIn"/>.</param>
    /// <exception cref="FileNotFoundException">The folder has no config.json.</exception>
    /// <inheritdoc cref="Create(ReadOnlyMemory{byte}, string, IReadOnlyList{ModelFamily}?)" path="/exception"/>
    public static IModelDefinition Create(ModelFiles files, IReadOnlyList<ModelFamily>? families = null)
    {
        if (files.TryRead(OpenClipConfig.FileName) is { } openClip) return OpenClipConfig.Create(openClip, files.Name);
        IModelDefinition model = Create(files.Read("config.json"), files.Name, families);
        return files.Contains(SentenceTransformer.ModulesFile) ? SentenceTransformer.Create(files, model) : model;
    }

    /// <summary>Makes the model that a config.json describes.</summary>
    /// <param name="configJson">Content of config.json.</param>
    /// <param name="name">Where it comes from, for messages.</param>
    /// <param name="families">Families to choose from; null for <see cref="BuiltIn"/>.</param>
    /// <exception cref="InvalidDataException">Not JSON, no <c>model_type</c>, or sizes that make no sense.</exception>
    /// <exception cref="NotSupportedException">The family is unknown; the message lists those known and how to add
    /// one.</exception>
    public static IModelDefinition Create(ReadOnlyMemory<byte> configJson, string name, IReadOnlyList<ModelFamily>? families = null)
    {
        families ??= BuiltIn;
        try
        {
            using JsonDocument document = JsonDocument.Parse(configJson, new() { MaxDepth = 32 });
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("model_type", out JsonElement type) || type.ValueKind != JsonValueKind.String)
                throw new InvalidDataException($"config.json of '{name}' has no model_type; it names the family, for example \"clip\".");
            ModelFamily family = families.FirstOrDefault(f => f.ModelType == type.GetString()) ?? throw new NotSupportedException(
                $"config.json of '{name}' has the model_type '{type.GetString()}'; known are {string.Join(", ", families.Select(f => f.ModelType))}. "
                + "Another family is added by giving its ModelFamily beside ModelFamilies.BuiltIn.");
            return family.Create(root);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or FormatException or OverflowException or ArgumentException)
        {
            throw new InvalidDataException($"config.json of '{name}' cannot be read: {e.Message}", e);
        }
    }
}
