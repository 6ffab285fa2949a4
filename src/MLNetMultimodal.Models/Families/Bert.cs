using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of BERT and RoBERTa, in the schema of Hugging Face's <c>BertConfig</c>.</summary>
public sealed record BertConfig
{
    /// <summary>Those of BERT's architecture: <c>bert</c> (MiniLM too), <c>roberta</c>, <c>xlm-roberta</c>.</summary>
    public static IReadOnlyList<string> ModelTypes { get; } = ["bert", "roberta", "xlm-roberta"];

    /// <summary>One of <see cref="ModelTypes"/>.</summary>
    public string ModelType { get; init; } = "bert";

    /// <summary>V, size of the vocabulary.</summary>
    public int VocabularySize { get; init; } = 30522;

    /// <summary>Rows of the position table.</summary>
    public int MaxPositions { get; init; } = 512;

    /// <summary>Rows of the table of token types, of which the first is used: a text is one segment.</summary>
    public int TokenTypes { get; init; } = 2;

    /// <summary>The id that fills up shorter texts, on the right; it is never attended to.</summary>
    public int PadId { get; init; }

    /// <summary>The id that stands for a hidden token in masked language modelling; null where nobody says. Hugging Face's tokenizers
    /// say it in their own files, ours in the field <c>mask_token_id</c>.</summary>
    public int? MaskId { get; init; }

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 768, 3072, 12, Activation.Gelu, 1e-12f) { Names = BlockNames.Bert, PostNorm = true };

    /// <summary>Position of the first token: RoBERTa counts from the one after its pad id.</summary>
    public int FirstPosition => ModelType == "bert" ? 0 : PadId + 1;

    /// <summary>The most tokens of a text.</summary>
    public int ContextLength => MaxPositions - FirstPosition;

    /// <summary>For short texts on a processor: 4 layers of width 128, 64 positions. The vocabulary is a tokenizer's and one more token,
    /// for what is hidden.</summary>
    /// <param name="vocabularySize">Of the tokenizer.</param>
    /// <param name="padId">Of the tokenizer.</param>
    public static BertConfig Small(int vocabularySize, int padId) => new()
    {
        VocabularySize = vocabularySize + 1,
        MaskId = vocabularySize,
        PadId = padId,
        MaxPositions = 64,
        TokenTypes = 1,
        Blocks = new BertConfig().Blocks with { Layers = 4, Width = 128, MlpWidth = 512, Heads = 4 },
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    /// <exception cref="NotSupportedException">Positions are relative, or the model is a decoder.</exception>
    public static BertConfig FromJson(JsonElement json) => FromJson(new ConfigReader(json));

    internal static BertConfig FromJson(ConfigReader json)
    {
        string positions = json.Text("position_embedding_type", "absolute");
        if (positions != "absolute")
            throw new NotSupportedException($"position_embedding_type '{positions}' is not supported; only 'absolute' is.");
        if (json.Flag("is_decoder", false))
            throw new NotSupportedException("is_decoder is true; only encoders are supported.");
        string type = json.Text("model_type", "bert");
        var config = new BertConfig
        {
            ModelType = type,
            VocabularySize = json.Int("vocab_size", type == "bert" ? 30522 : 50265, max: 1 << 24),
            MaxPositions = json.Int("max_position_embeddings", 512),
            TokenTypes = json.Int("type_vocab_size", 2, max: 1024),
            PadId = json.Int("pad_token_id", type == "bert" ? 0 : 1, min: 0, max: 1 << 24),
            MaskId = json.Has("mask_token_id") ? json.Int("mask_token_id", 0, min: 0, max: 1 << 24) : null,
            Blocks = json.Blocks(new BertConfig().Blocks),
        };
        if (config.MaskId >= config.VocabularySize)
            throw new InvalidDataException($"mask_token_id {config.MaskId} is not in the vocabulary of {config.VocabularySize}.");
        return config.ContextLength > 0 ? config : throw new InvalidDataException(
            $"max_position_embeddings {config.MaxPositions} leaves no position after pad_token_id {config.PadId}.");
    }

    /// <summary>Writes a config.json that Hugging Face's <c>BertConfig</c> reads.</summary>
    public string ToJson() => ToJsonObject().ToJsonString(new() { WriteIndented = true }) + "\n";

    internal JsonObject ToJsonObject()
    {
        JsonObject json = Published();
        if (MaskId is { } mask) json["mask_token_id"] = mask;
        return json;
    }

    JsonObject Published() => new()
    {
        ["architectures"] = new JsonArray(ModelType switch { "bert" => "BertModel", "roberta" => "RobertaModel", _ => "XLMRobertaModel" }),
        ["model_type"] = ModelType,
        ["vocab_size"] = VocabularySize,
        ["hidden_size"] = Blocks.Width,
        ["intermediate_size"] = Blocks.MlpWidth,
        ["num_attention_heads"] = Blocks.Heads,
        ["num_hidden_layers"] = Blocks.Layers,
        ["hidden_act"] = Blocks.Activation.ConfigName(),
        ["layer_norm_eps"] = Blocks.NormEpsilon,
        ["max_position_embeddings"] = MaxPositions,
        ["type_vocab_size"] = TokenTypes,
        ["pad_token_id"] = PadId,
        ["position_embedding_type"] = "absolute",
    };
}

/// <summary>How the tokens of a text become one vector.</summary>
public enum BertPooling
{
    /// <summary>The mean over all tokens but padding: what sentence-transformers do where nothing else is said.</summary>
    Mean,

    /// <summary>The first token.</summary>
    FirstToken,

    /// <summary>The sum over all tokens but padding, divided by the square root of their number.</summary>
    MeanSqrtLength,

    /// <summary>The largest value of each element over all tokens but padding.</summary>
    Max,

    /// <summary>The mean over all tokens but padding, each weighted by its position, counted from 1.</summary>
    WeightedMean,

    /// <summary>The last token before padding.</summary>
    LastToken,
}

/// <summary>BERT: a bidirectional Transformer over tokens (Devlin et al. 2019, arXiv:1810.04805), and RoBERTa (Liu et al. 2019,
/// arXiv:1907.11692), which differs in where positions begin. Names of Hugging Face's <c>BertModel</c>.</summary>
public static class Bert
{
    /// <summary>Tokens in, tokens out.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model; empty for a checkpoint of its own.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L], L at most the context length; padding stands on the right.</param>
    /// <param name="keep">Bool [B, L]: true for a token, false for padding.</param>
    /// <param name="layers">Is given what each block's feed-forward part gives, see <see cref="Transformer.Encoder"/>.</param>
    /// <returns>[B, L, D].</returns>
    public static T Encode<T>(ITensorOps<T> ops, Name name, BertConfig c, T ids, T keep, ICollection<T>? layers = null) where T : class
    {
        Name embeddings = name / "embeddings";
        int width = c.Blocks.Width;
        T x = ops.Embedding(ids, embeddings / "word_embeddings", c.VocabularySize, width);             // [B, L] -> [B, L, D]
        T positions = ops.Parameter(embeddings / "position_embeddings" / "weight", default, c.MaxPositions, width);
        x = ops.Add(x, ops.SliceLike(ops.Slice(positions, 0, c.FirstPosition, int.MaxValue), 0, ids, 1));
        T types = ops.Parameter(embeddings / "token_type_embeddings" / "weight", default, c.TokenTypes, width);
        x = ops.Add(x, ops.Slice(types, 0, 0, 1));
        x = ops.LayerNorm(x, embeddings / "LayerNorm", c.Blocks.NormEpsilon);
        return Transformer.Encoder(ops, name / "encoder", c.Blocks, x, new(Keep: keep), layers);
    }

    /// <summary>The first token through a layer and tanh: <c>pooler_output</c>.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model.</param>
    /// <param name="width">D.</param>
    /// <param name="tokens">[B, L, D].</param>
    /// <returns>[B, D].</returns>
    public static T Pooler<T>(ITensorOps<T> ops, Name name, int width, T tokens) where T : class =>
        ops.Activate(ops.Linear(FirstToken(ops, tokens), name / "pooler" / "dense", width, width), Activation.Tanh);

    /// <summary>What stands in each place, of all tokens: the head of masked language modelling (Devlin et al. 2019, section 3.1). Its
    /// last matrix is the word table. Names of Hugging Face's <c>BertForMaskedLM</c> and <c>RobertaForMaskedLM</c>.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="tokens">[B, L, D].</param>
    /// <returns>[B, L, V].</returns>
    public static T MaskedLm<T>(ITensorOps<T> ops, Name name, BertConfig c, T tokens) where T : class
    {
        bool isBert = c.ModelType == "bert";
        Name head = isBert ? name / "cls" / "predictions" : name / "lm_head", transform = isBert ? head / "transform" : head;
        T x = ops.Linear(tokens, transform / "dense", c.Blocks.Width, c.Blocks.Width);
        x = ops.LayerNorm(ops.Activate(x, isBert ? c.Blocks.Activation : Activation.Gelu), transform / (isBert ? "LayerNorm" : "layer_norm"), c.Blocks.NormEpsilon);
        T words = ops.Parameter(name / "embeddings" / "word_embeddings" / "weight", default, c.VocabularySize, c.Blocks.Width);
        return ops.Linear(x, words, ops.Parameter(head / "bias", Init.Zeros, c.VocabularySize));
    }

    internal static T FirstToken<T>(ITensorOps<T> ops, T tokens) where T : class =>
        ops.Rearrange(ops.Slice(tokens, 1, 0, 1), "b l d -> b (l d)");                                 // [B, L, D] -> [B, D]
}

/// <summary>BERT as a model of this library: texts to embeddings of length 1. Padding is recognised by its id.</summary>
public sealed class BertModel : IModelDefinition
{
    readonly SentenceHead _head;
    readonly int? _contextLength;

    /// <summary>A model that pools its tokens.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="pooling">How tokens become an embedding.</param>
    /// <param name="contextLength">The most tokens of a text; null for all that the positions allow.</param>
    public BertModel(BertConfig config, BertPooling pooling, int? contextLength = null)
        : this(config, new SentenceHead { Poolings = [pooling] }, contextLength)
    {
    }

    internal BertModel(BertConfig config, SentenceHead head, int? contextLength)
    {
        (Config, _head, _contextLength) = (config, head, contextLength);
        Encoders = new Dictionary<Modality, IProgram> { [Modality.Text] = new TextProgram(config, head, contextLength) };
        Full = new FullProgram(config, head, contextLength);
    }

    /// <summary>Sizes.</summary>
    public BertConfig Config { get; }

    /// <summary>How tokens become an embedding; several stand side by side in it.</summary>
    public IReadOnlyList<BertPooling> Poolings => _head.Poolings;

    /// <inheritdoc/>
    public string ModelType => Config.ModelType;

    /// <inheritdoc/>
    public int EmbeddingWidth => _head.Width(Config.Blocks.Width);

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; }

    /// <summary>Takes <c>input_ids</c> and <c>attention_mask</c>; gives <c>last_hidden_state</c> [B, L, D], the
    /// <c>sentence_embedding</c> [B, E] as the last module of the folder leaves it, and <c>text_embeds</c> [B, E], the same with
    /// length 1.</summary>
    public IProgram Full { get; }

    /// <summary>The model with its head for masked language modelling: takes <c>input_ids</c> and <c>attention_mask</c>, Int64 [B, L];
    /// gives <c>logits</c> [B, L, V]. Its further weights, <c>cls.predictions</c> or <c>lm_head</c>, are read by
    /// <see cref="RenameMaskedLm"/>.</summary>
    public IProgram MaskedLm => new MaskedLmProgram(Config, _contextLength);

    /// <summary><see cref="Rename"/> for <see cref="MaskedLm"/>: the copy of the word table that a checkpoint has for the head is left
    /// out, and the copy of the bias.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> RenameMaskedLm(IReadOnlyDictionary<string, TensorData> weights) => Rename(weights)
        .Where(w => w.Key is not ("cls.predictions.decoder.weight" or "cls.predictions.decoder.bias" or "lm_head.decoder.weight" or "lm_head.decoder.bias"))
        .ToDictionary(w => w.Key, w => w.Value, StringComparer.Ordinal);

    /// <inheritdoc/>
    public string? TextPrompt => _head.Prompt;

    /// <inheritdoc/>
    public bool PoolsPrompt => _head.PoolsPrompt;

    /// <inheritdoc/>
    public IModelDefinition WithPromptTokens(int tokens) =>
        new BertModel(Config, _head with { SkippedTokens = tokens }, _contextLength);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } =
        ["embeddings.position_ids", "embeddings.token_type_ids", "pooler.", "cls.", "lm_head.", "regression_head.", "classifier.", "qa_outputs."];

    /// <inheritdoc/>
    public string ToConfigJson() => Config.ToJson();

    /// <summary>Checkpoints of a task, whose names begin with <c>bert.</c> or <c>roberta.</c>, and those of TensorFlow times,
    /// whose norms have a <c>gamma</c> and a <c>beta</c>.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) =>
        BertNaming.ToPublished(weights, "bert.", "roberta.");

    static TensorSpec Ids(BertConfig c, int? length, string name) => new(name, ElementType.Int64, Dim.Dynamic("batch"),
        Dim.Dynamic("sequence", Math.Min(c.ContextLength, length ?? c.ContextLength)));

    sealed class TextProgram(BertConfig c, SentenceHead head, int? length) : IProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c, length, "input_ids")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"], keep = ops.Not(ops.Equal(ids, c.PadId));
            return [("text_embeds", ops.L2Normalize(head.Apply(ops, Bert.Encode(ops, Ops.Name.Root, c, ids, keep), keep)))];
        }
    }

    sealed class MaskedLmProgram(BertConfig c, int? length) : IProgram
    {
        public string Name => "masked_lm";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c, length, "input_ids"), Ids(c, length, "attention_mask")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Bert.Encode(ops, Ops.Name.Root, c, inputs["input_ids"], ops.Equal(inputs["attention_mask"], 1));
            return [("logits", Bert.MaskedLm(ops, Ops.Name.Root, c, tokens))];
        }
    }

    sealed class FullProgram(BertConfig c, SentenceHead head, int? length) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c, length, "input_ids"), Ids(c, length, "attention_mask")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T keep = ops.Equal(inputs["attention_mask"], 1);
            T tokens = Bert.Encode(ops, Ops.Name.Root, c, inputs["input_ids"], keep), pooled = head.Apply(ops, tokens, keep);
            return [("last_hidden_state", tokens), ("sentence_embedding", pooled), ("text_embeds", ops.L2Normalize(pooled))];
        }
    }
}
