using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>Families for sound against plain loops in double precision, in every engine, from a folder with the published schema and
/// names.</summary>
public sealed class AudioFamilyTests
{
    const double Tolerance = 1e-5; // the sums are float32 here and double there; embeddings have length 1
    const int Width = 24, Heads = 3, Layers = 2;

    public static TheoryData<string> EngineNames => Engines.Names;

    static double[] Values(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
    }

    static TensorData Batch(double[][] items, params long[] shape) =>
        TensorData.From([.. items.SelectMany(i => i).Select(v => (float)v)], [items.Length, .. shape]);

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    static double[] Mean(IEnumerable<double[]> rows) => [.. Enumerable.Range(0, rows.First().Length).Select(d => rows.Average(r => r[d]))];

    static double[][] Transposed(double[][] x) => [.. Enumerable.Range(0, x[0].Length).Select(t => x.Select(row => row[t]).ToArray())];

    /// <summary>[channels][T] -> [out][T'] with PyTorch's weight and, where it is there, bias.</summary>
    static double[][] Convolve(Plain w, double[][] x, string name, int kernel, int stride = 1, int padding = 0, int groups = 1, bool bias = true)
    {
        double[] weight = w.Weight(name + ".weight");
        int into = x.Length / groups, outputs = weight.Length / (into * kernel), steps = (x[0].Length + 2 * padding - kernel) / stride + 1;
        double[] offset = bias ? w.Weight(name + ".bias") : new double[outputs];
        return [.. Enumerable.Range(0, outputs).Select(o => Enumerable.Range(0, steps).Select(t =>
        {
            double sum = offset[o];
            for (int c = 0; c < into; c++)
                for (int k = 0; k < kernel; k++)
                    if (t * stride - padding + k is var at && at >= 0 && at < x[0].Length)
                        sum += weight[(o * into + c) * kernel + k] * x[o / (outputs / groups) * into + c][at];
            return sum;
        }).ToArray())];
    }

    public static TheoryData<string, bool> AstCases => new() { { "onnx", false }, { "torch", false }, { "onnx", true } };

    [Theory, MemberData(nameof(AstCases))]
    public void Audio_spectrogram_transformer(string engine, bool isClassifier)
    {
        const int frames = 21, bins = 12, patch = 6, stride = 4, across = 2, along = 4; // patches overlap, and the last frames are not seen
        var folder = new FamilyFolder("""
            {"model_type":"audio-spectrogram-transformer","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,
             "max_length":21,"num_mel_bins":12,"patch_size":6,"time_stride":4,"frequency_stride":4,"layer_norm_eps":1e-6}
            """, isClassifier ? n => $"audio_spectrogram_transformer.{n}" : null);
        Plain w = folder.Oracle;
        double[][] sounds = [Values(1, frames * bins), Values(2, frames * bins)];
        double[][][] tokens = [.. sounds.Select(sound =>
        {
            double[] kernel = w.Weight("embeddings.patch_embeddings.projection.weight"), bias = w.Weight("embeddings.patch_embeddings.projection.bias");
            var patches = new List<double[]>();
            for (int f = 0; f < across; f++)
                for (int t = 0; t < along; t++)
                    patches.Add([.. Enumerable.Range(0, Width).Select(o => bias[o] + Enumerable.Range(0, patch * patch).Sum(p =>
                        kernel[o * patch * patch + p] * sound[(t * stride + p % patch) * bins + f * stride + p / patch]))]);
            double[][] x = [w.Weight("embeddings.cls_token"), w.Weight("embeddings.distillation_token"), .. patches];
            x = Plain.Add(x, [.. w.Weight("embeddings.position_embeddings").Chunk(Width)]);
            return w.VitEncoder(x, "", Layers, Heads, 1e-6);
        })];
        double[][] pooled = [.. tokens.Select(t => Mean(t[..2]))];
        var inputs = new Dictionary<string, TensorData> { ["input_values"] = Batch(sounds, frames, bins) };
        var got = folder.Run(engine, folder.Model.Full, inputs);
        Check("last_hidden_state", tokens.SelectMany(t => t), got["last_hidden_state"]);
        Check("pooler_output", pooled, got["pooler_output"]);
        Check("audio_embeds", pooled.Select(Plain.Unit), folder.Run(engine, folder.Model.Encoders[Modality.Audio], inputs)["audio_embeds"]);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Whisper(string engine)
    {
        const int bins = 5, length = 7;
        var folder = new FamilyFolder("""
            {"model_type":"whisper","d_model":24,"encoder_layers":2,"encoder_attention_heads":3,"encoder_ffn_dim":40,"num_mel_bins":5,
             "max_source_positions":7,"activation_function":"gelu","decoder_layers":4}
            """, n => $"model.{n}");
        Plain w = folder.Oracle;
        double[][] sounds = [Values(3, bins * 2 * length), Values(4, bins * 2 * length)];
        double[][][] tokens = [.. sounds.Select(sound =>
        {
            double[][] x = Plain.Map(Convolve(w, [.. sound.Chunk(2 * length)], "encoder.conv1", 3, padding: 1), Plain.Gelu);
            x = Transposed(Plain.Map(Convolve(w, x, "encoder.conv2", 3, stride: 2, padding: 1), Plain.Gelu));
            x = Plain.Add(x, [.. w.Weight("encoder.embed_positions.weight").Chunk(Width)]);
            for (int i = 0; i < Layers; i++)
            {
                string n = $"encoder.layers.{i}.", a = n + "self_attn.";
                double[][] h = w.Norm(x, n + "self_attn_layer_norm", 1e-5);
                h = Plain.Attend(w.Linear(h, a + "q_proj"), w.Linear(h, a + "k_proj", bias: false), w.Linear(h, a + "v_proj"), Heads);
                x = Plain.Add(x, w.Linear(h, a + "out_proj"));
                h = Plain.Map(w.Linear(w.Norm(x, n + "final_layer_norm", 1e-5), n + "fc1"), Plain.Gelu);
                x = Plain.Add(x, w.Linear(h, n + "fc2"));
            }
            return w.Norm(x, "encoder.layer_norm", 1e-5);
        })];
        var inputs = new Dictionary<string, TensorData> { ["input_features"] = Batch(sounds, bins, 2 * length) };
        Check("last_hidden_state", tokens.SelectMany(t => t), folder.Run(engine, folder.Model.Full, inputs)["last_hidden_state"]);
        Check("audio_embeds", tokens.Select(t => Plain.Unit(Mean(t))), folder.Run(engine, folder.Model.Encoders[Modality.Audio], inputs)["audio_embeds"]);
    }

    public static TheoryData<string, int> Data2VecCases => new() { { "onnx", 5 }, { "torch", 5 }, { "onnx", 4 }, { "torch", 4 } };

    [Theory, MemberData(nameof(Data2VecCases))]
    public void Data2vec(string engine, int positionKernel)
    {
        var folder = new FamilyFolder(Data2VecJson(positionKernel), n => $"data2vec_audio.{n}");
        Plain w = folder.Oracle;
        foreach (int samples in (int[])[97, 20]) // 8 tokens and 1 token
        {
            double[][] sounds = [Values(5, samples), Values(6, samples)];
            double[][][] tokens = [.. sounds.Select(sound => Data2VecTokens(w, sound, positionKernel))];
            var inputs = new Dictionary<string, TensorData> { ["input_values"] = Batch(sounds, samples) };
            Check("last_hidden_state", tokens.SelectMany(t => t), folder.Run(engine, folder.Model.Full, inputs)["last_hidden_state"]);
            Check("audio_embeds", tokens.Select(t => Plain.Unit(Mean(t))), folder.Run(engine, folder.Model.Encoders[Modality.Audio], inputs)["audio_embeds"]);
        }
    }

    static string Data2VecJson(int positionKernel) => $$"""
        {"model_type":"data2vec-audio","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,
         "conv_dim":[8,6],"conv_kernel":[10,3],"conv_stride":[5,2],"num_conv_pos_embeddings":2,"conv_pos_kernel_size":{{positionKernel}},
         "num_conv_pos_embedding_groups":4}
        """;

    /// <summary>Tokens of a sound; those <paramref name="masked"/> are not seen, and <paramref name="results"/> is given what each
    /// block's feed-forward part gives before it is added.</summary>
    static double[][] Data2VecTokens(Plain w, double[] sound, int positionKernel, bool[]? masked = null, ICollection<double[][]>? results = null)
    {
        int[] kernels = [10, 3], strides = [5, 2];
        double[][] x = [sound];
        for (int i = 0; i < kernels.Length; i++)
        {
            string n = $"feature_extractor.conv_layers.{i}.";
            x = Convolve(w, x, n + "conv", kernels[i], strides[i], bias: false);
            x = Transposed(Plain.Map(w.Norm(Transposed(x), n + "layer_norm", 1e-5), Plain.Gelu));
        }
        x = w.Linear(w.Norm(Transposed(x), "feature_projection.layer_norm", 1e-5), "feature_projection.projection");
        if (masked is not null) x = [.. x.Select((token, i) => masked[i] ? w.Weight("masked_spec_embed") : token)];
        double[][] positions = x;
        for (int i = 0; i < 2; i++)
        {
            double[][] h = Convolve(w, Transposed(positions), $"encoder.pos_conv_embed.layers.{i}.conv", positionKernel, padding: positionKernel / 2, groups: 4);
            positions = Plain.Map(Standardized(Transposed(h)[..x.Length]), Plain.Gelu);
        }
        x = w.Norm(Plain.Add(x, positions), "encoder.layer_norm", 1e-5);
        for (int i = 0; i < Layers; i++)
        {
            string n = $"encoder.layers.{i}.", a = n + "attention.";
            double[][] h = Plain.Attend(w.Linear(x, a + "q_proj"), w.Linear(x, a + "k_proj"), w.Linear(x, a + "v_proj"), Heads);
            x = w.Norm(Plain.Add(x, w.Linear(h, a + "out_proj")), n + "layer_norm", 1e-5);
            h = w.Linear(Plain.Map(w.Linear(x, n + "feed_forward.intermediate_dense"), Plain.Gelu), n + "feed_forward.output_dense");
            results?.Add(h);
            x = w.Norm(Plain.Add(x, h), n + "final_layer_norm", 1e-5);
        }
        return x;

        static double[][] Standardized(double[][] x) => Array.ConvertAll(x, row =>
        {
            double mean = row.Average(), variance = row.Average(v => (v - mean) * (v - mean));
            return Array.ConvertAll(row, v => (v - mean) / Math.Sqrt(variance + 1e-5));
        });
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Both_sides_of_a_self_distillation(string engine)
    {
        DistillationPair pair = Data2Vec.Sounds(((Data2VecAudioModel)new FamilyFolder(Data2VecJson(5)).Model).Config);
        IReadOnlyDictionary<string, TensorData> weights = FamilyFolder.Draw(pair.Student);
        var w = new Plain(weights);
        double[][] sounds = [Values(5, 97), Values(6, 97)]; // 8 tokens each
        bool[][] masked = [[false, true, true, false, false, false, false, true], [true, true, true, true, true, true, true, true]];
        var layers = sounds.Select(_ => new List<double[][]>()).ToArray();
        double[][][] hidden = [.. sounds.Zip(masked, (sound, mask) => w.Linear(Data2VecTokens(w, sound, 5, mask), "regression_head"))];
        for (int i = 0; i < sounds.Length; i++) Data2VecTokens(w, sounds[i], 5, null, layers[i]);
        var inputs = new Dictionary<string, TensorData>
        {
            ["input_values"] = Batch(sounds, 97),
            ["mask_time_indices"] = new(DType.BOOL, [2, 8], masked.SelectMany(m => m).Select(m => m ? (byte)1 : (byte)0).ToArray()),
        };
        Check("predictions", hidden.SelectMany(t => t), Engines.Get(engine).Run(pair.Student, weights, inputs)["predictions"]);
        var seen = Engines.Get(engine).Run(pair.Teacher, weights, inputs);
        for (int i = 0; i < Layers; i++) Check($"layer.{i}", layers.SelectMany(l => l[i]), seen[$"layer.{i}"]);
    }

    [Theory]
    [InlineData("""{"model_type":"audio-spectrogram-transformer","max_length":128,"hidden_act":"relu","qkv_bias":false}""")]
    [InlineData("""{"model_type":"whisper","d_model":512,"encoder_layers":6,"encoder_attention_heads":8,"encoder_ffn_dim":2048}""")]
    [InlineData("""{"model_type":"data2vec-audio","conv_bias":true,"num_hidden_layers":3}""")]
    public void A_written_config_describes_the_same_model(string config)
    {
        IModelDefinition model = ModelFamilies.Create(System.Text.Encoding.UTF8.GetBytes(config), "published");
        IModelDefinition again = ModelFamilies.Create(System.Text.Encoding.UTF8.GetBytes(model.ToConfigJson()), "written");
        Assert.Equal(model.ToConfigJson(), again.ToConfigJson());
        Assert.Equal(ModelSummary.Of(model.Full).Parameters.Select(p => p.ToString()), ModelSummary.Of(again.Full).Parameters.Select(p => p.ToString()));
    }

    [Theory]
    [InlineData("""{"model_type":"audio-spectrogram-transformer","time_stride":10,"frequency_stride":8}""", "time_stride 10")]
    [InlineData("""{"model_type":"audio-spectrogram-transformer","num_mel_bins":8}""", "patch_size 16")]
    [InlineData("""{"model_type":"whisper","d_model":100,"encoder_attention_heads":6}""", "d_model 100")]
    [InlineData("""{"model_type":"data2vec-audio","conv_dim":[8]}""", "equally long")]
    [InlineData("""{"model_type":"data2vec-audio","add_adapter":true}""", "add_adapter")]
    [InlineData("""{"model_type":"encodec","norm_type":"layer_norm"}""", "norm_type")]
    [InlineData("""{"model_type":"encodec","upsampling_ratios":[64,64,64,64]}""", "upsampling_ratios")]
    [InlineData("""{"model_type":"encodec","codebook_dim":64}""", "codebook_dim 64")]
    public void Configs_that_make_no_sense_are_refused(string config, string named)
    {
        var e = Assert.ThrowsAny<Exception>(() => ModelFamilies.Create(System.Text.Encoding.UTF8.GetBytes(config), "wrong"));
        Assert.True(e is InvalidDataException or NotSupportedException, e.GetType().Name);
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }
}
