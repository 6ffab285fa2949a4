using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>The two sides of a self-distillation: a student that sees a part, and a teacher that sees all, with one encoder.</summary>
/// <param name="Student">Gives <c>predictions</c> [B, L, D], one for each token that can be masked.</param>
/// <param name="Teacher">Gives <c>layer.0</c>, <c>layer.1</c> ...: what each block's feed-forward part gives for the same tokens,
/// [B, L, D] each. Its weights are some of the student's.</param>
public sealed record DistillationPair(IProgram Student, IProgram Teacher);

/// <summary>data2vec: whatever the sense, a student that sees a masked input predicts what a teacher makes of the whole one (Baevski et
/// al. 2022, arXiv:2202.03555). The encoders are those of the other families; what stands here are their masked programs and the head of
/// the predictions, which is thrown away.</summary>
public static class Data2Vec
{
    const string Head = "regression_head";

    /// <summary>Pictures: takes <c>pixel_values</c> [B, C, H, W]; the student <c>bool_masked_pos</c> Bool [B, N] too.</summary>
    /// <param name="c">Sizes; weights have the names of Hugging Face's <c>ViTModel</c> with its <c>mask_token</c>.</param>
    public static DistillationPair Pictures(VitConfig c) => new(new VisionProgram(c, isStudent: true), new VisionProgram(c, isStudent: false));

    /// <summary>Pictures, with a student that is given the patches it may see only, and a decoder that predicts for the others (data2vec 2.0:
    /// Baevski et al. 2022, arXiv:2212.07525, sections 3.1 and 3.3): takes <c>pixel_values</c> [B, C, H, W]; the student, as a masked
    /// autoencoder (<see cref="MaeModel.Full"/>), <c>ids_keep</c> and <c>ids_restore</c> too.</summary>
    /// <param name="c">Sizes; weights have the names of Hugging Face's <c>ViTMAEForPreTraining</c>.</param>
    public static DistillationPair Pictures(MaeConfig c) => new(new SparseProgram(c, isStudent: true), new SparseProgram(c, isStudent: false));

    /// <summary>Texts: takes <c>input_ids</c> and <c>attention_mask</c>, Int64 [B, L]; the student's ids have a mask token wherever
    /// something is to be predicted.</summary>
    /// <param name="c">Sizes.</param>
    public static DistillationPair Texts(BertConfig c) => new(new TextProgram(c, isStudent: true), new TextProgram(c, isStudent: false));

    /// <summary>Sounds: takes <c>input_values</c> [B, T]; the student <c>mask_time_indices</c> Bool [B, L] too.</summary>
    /// <param name="c">Sizes; weights have the names of Hugging Face's <c>Data2VecAudioModel</c> with its
    /// <c>masked_spec_embed</c>.</param>
    public static DistillationPair Sounds(Data2VecAudioConfig c) => new(new SoundProgram(c, isStudent: true), new SoundProgram(c, isStudent: false));

    static IReadOnlyList<(string, T)> Predictions<T>(ITensorOps<T> ops, int width, T tokens) where T : class =>
        [("predictions", ops.Linear(tokens, Head, width, width))];

    static IReadOnlyList<(string, T)> Layers<T>(IEnumerable<T> layers) where T : class =>
        [.. layers.Select((layer, i) => ($"layer.{i}", layer))];

    sealed class VisionProgram(VitConfig c, bool isStudent) : IProgram
    {
        public string Name => isStudent ? "student" : "teacher";

        public IReadOnlyList<TensorSpec> Inputs { get; } = WithMask(isStudent,
            new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Channels, c.ImageSize, c.ImageSize),
            new("bool_masked_pos", ElementType.Bool, Dim.Dynamic("batch"), c.ImageSize / c.PatchSize * (c.ImageSize / c.PatchSize)));

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            var layers = new List<T>();
            T tokens = Vit.Encode(ops, Ops.Name.Root, c, c.ImageSize, inputs["pixel_values"], isStudent ? inputs["bool_masked_pos"] : null, layers);
            return isStudent ? Predictions(ops, c.Blocks.Width, Patches(tokens)) : Layers(layers.Select(Patches));

            T Patches(T x) => ops.Slice(x, 1, c.PrefixTokens, int.MaxValue);
        }
    }

    sealed class SparseProgram(MaeConfig c, bool isStudent) : IProgram
    {
        public string Name => isStudent ? "student" : "teacher";

        public IReadOnlyList<TensorSpec> Inputs { get; } = isStudent ? new MaeModel(c).Full.Inputs : [new MaeModel(c).Full.Inputs[0]];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            if (isStudent)
            {
                T seen = Mae.Encode(ops, c, inputs["pixel_values"], inputs["ids_keep"]);
                return [("predictions", Mae.Decode(ops, c, seen, inputs["ids_restore"], c.Encoder.Blocks.Width))];
            }
            var layers = new List<T>();
            Vit.Encode(ops, "vit", c.Encoder, c.Encoder.ImageSize, inputs["pixel_values"], layers: layers);
            return Layers(layers.Select(x => ops.Slice(x, 1, c.Encoder.PrefixTokens, int.MaxValue)));
        }
    }

    sealed class TextProgram(BertConfig c, bool isStudent) : IProgram
    {
        public string Name => isStudent ? "student" : "teacher";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [.. new[] { "input_ids", "attention_mask" }.Select(n =>
            new TensorSpec(n, ElementType.Int64, Dim.Dynamic("batch"), Dim.Dynamic("sequence", c.ContextLength)))];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            var layers = new List<T>();
            T tokens = Bert.Encode(ops, Ops.Name.Root, c, inputs["input_ids"], ops.Equal(inputs["attention_mask"], 1), layers);
            return isStudent ? Predictions(ops, c.Blocks.Width, tokens) : Layers(layers);
        }
    }

    sealed class SoundProgram(Data2VecAudioConfig c, bool isStudent) : IProgram
    {
        public string Name => isStudent ? "student" : "teacher";

        public IReadOnlyList<TensorSpec> Inputs { get; } = WithMask(isStudent,
            new("input_values", ElementType.Float32, Dim.Dynamic("batch"), Dim.Dynamic("samples", 16_000)),
            new("mask_time_indices", ElementType.Bool, Dim.Dynamic("batch"), Dim.Dynamic("frames", 49)));

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            var layers = new List<T>();
            T tokens = Data2VecAudio.Encode(ops, Ops.Name.Root, c, inputs["input_values"], isStudent ? inputs["mask_time_indices"] : null, layers);
            return isStudent ? Predictions(ops, c.Blocks.Width, tokens) : Layers(layers);
        }
    }

    static IReadOnlyList<TensorSpec> WithMask(bool isStudent, TensorSpec input, TensorSpec mask) => isStudent ? [input, mask] : [input];
}
