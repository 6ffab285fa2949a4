using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>The audio tower with its convolutional stem against plain loops in double precision; the tower beside it against CLIP, whose
/// names and program it shares and which has goldens of its own.</summary>
public sealed class AudioDualEncoderTests
{
    const double Tolerance = 2e-5; // float32 here and double there, through three convolutions with group norms
    const int Frames = 11, Bins = 6, Width = 24, Heads = 3, Layers = 2;
    const double Range = 3;

    const string Audio = """
        {"model_type":"audio-spectrogram-transformer","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,
         "max_length":11,"num_mel_bins":6,"patch_size":4,"time_stride":4,"frequency_stride":4,"layer_norm_eps":1e-5,
         "stem_channels":[8,8,16],"dynamic_range":3}
        """;

    const string Text = """
        {"model_type":"clip_text_model","hidden_size":24,"intermediate_size":32,"num_hidden_layers":2,"num_attention_heads":3,"vocab_size":40,
         "max_position_embeddings":9,"eos_token_id":39,"hidden_act":"gelu"}
        """;

    const string Vision = """
        {"model_type":"clip_vision_model","hidden_size":24,"intermediate_size":32,"num_hidden_layers":2,"num_attention_heads":3,"image_size":8,
         "patch_size":4,"stem_channels":[8,16]}
        """;

    public static TheoryData<string, bool> Cases => new() { { "onnx", true }, { "torch", true }, { "onnx", false }, { "torch", false } };

    static string Config(bool isText) => $$"""
        {"model_type":"audio-dual-encoder","projection_dim":10,"logit_scale_init_value":2,"audio_config":{{Audio}},
         {{(isText ? $"\"text_config\":{Text}" : $"\"vision_config\":{Vision}")}}}
        """;

    static double[] Sound(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Frames * Bins).Select(_ => (double)(float)(random.NextDouble() * 8 - 4))];
    }

    [Theory, MemberData(nameof(Cases))]
    public void Both_towers_and_their_similarities(string engine, bool isText)
    {
        var folder = new FamilyFolder(Config(isText));
        double[][] sounds = [Sound(1), Sound(2), Sound(3)];
        double[][] audio = [.. sounds.Select(s => Embed(folder.Oracle, s))];
        var inputs = new Dictionary<string, TensorData>
        {
            ["input_values"] = TensorData.From([.. sounds.SelectMany(s => s).Select(v => (float)v)], 3, Frames, Bins),
        };
        if (isText) inputs["input_ids"] = TensorData.From([5L, 9, 39, 0, 0, 2, 8, 17, 4, 39], 2, 5);
        else inputs["pixel_values"] = TensorData.From([.. Enumerable.Range(0, 2 * 3 * 64).Select(i => MathF.Sin(i * 0.7f))], 2, 3, 8, 8);

        var got = folder.Run(engine, folder.Model.Full, inputs);
        Check("audio_embeds", audio, got["audio_embeds"]);
        Check("audio_embeds of the encoder", audio, folder.Run(engine, folder.Model.Encoders[Modality.Audio], inputs)["audio_embeds"]);

        Modality other = isText ? Modality.Text : Modality.Image;
        string name = isText ? "text" : "image";
        ClipConfig config = ((AudioDualEncoderModel)folder.Model).Config is var c && isText
            ? new() { Text = c.Text!, ProjectionWidth = 10 } : new() { Vision = c.Vision!, ProjectionWidth = 10 };
        float[] expected = Engines.Get(engine == "torch" ? "onnx" : "torch").Run(new ClipModel(config).Encoders[other], folder.Weights, inputs)[$"{name}_embeds"].ToSingles();
        Difference.Check($"{name}_embeds", expected, got[$"{name}_embeds"].ToSingles(), Tolerance, Tolerance);
        Difference.Check($"{name}_embeds of the encoder", expected,
            folder.Run(engine, folder.Model.Encoders[other], inputs)[$"{name}_embeds"].ToSingles(), Tolerance, Tolerance);
        double scale = Math.Exp(folder.Oracle.Weight("logit_scale")[0]);
        double[][] logits = [.. audio.Select(a => expected.Chunk(10).Select(e => scale * a.Zip(e, (x, y) => x * y).Sum()).ToArray())];
        Check("logits_per_audio", logits, got["logits_per_audio"]);
        Check($"logits_per_{name}", Enumerable.Range(0, 2).Select(t => logits.Select(row => row[t]).ToArray()), got[$"logits_per_{name}"]);
    }

    [Theory]
    [InlineData("onnx")]
    [InlineData("torch")]
    public void Loudness_and_the_depth_of_silence_make_no_difference(string engine)
    {
        var folder = new FamilyFolder(Config(isText: true));
        double[] sound = Sound(4), louder = [.. sound.Select(v => v + 2)], deeper = [.. sound.Select(v => v < sound.Max() - Range ? v - 50 : v)];
        Assert.NotEqual(sound, deeper);
        float[] embeds = folder.Run(engine, folder.Model.Encoders[Modality.Audio], new Dictionary<string, TensorData>
        {
            ["input_values"] = TensorData.From([.. sound.Concat(louder).Concat(deeper).Select(v => (float)v)], 3, Frames, Bins),
        })["audio_embeds"].ToSingles();
        Difference.Check("louder", embeds[..10], embeds[10..20], Tolerance, Tolerance);
        Difference.Check("deeper", embeds[..10], embeds[20..], Tolerance, Tolerance);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_written_config_describes_the_same_model(bool isText)
    {
        IModelDefinition model = Create(Config(isText)), again = Create(model.ToConfigJson());
        Assert.Equal(model.ToConfigJson(), again.ToConfigJson());
        Assert.Equal(ModelSummary.Of(model.Full).Parameters.Select(p => p.ToString()), ModelSummary.Of(again.Full).Parameters.Select(p => p.ToString()));
    }

    [Theory]
    [InlineData("""{"model_type":"audio-dual-encoder","audio_config":{}}""", "text_config or a vision_config")]
    [InlineData("""{"model_type":"audio-dual-encoder","audio_config":{},"text_config":{},"vision_config":{}}""", "one of the two")]
    [InlineData("""{"model_type":"audio-dual-encoder","audio_config":{"model_type":"clap_audio_model"},"text_config":{}}""", "clap_audio_model")]
    [InlineData("""{"model_type":"audio-dual-encoder","audio_config":{},"text_config":{"model_type":"bert"}}""", "bert")]
    [InlineData("""{"model_type":"audio-dual-encoder","audio_config":{"dynamic_range":0},"text_config":{}}""", "dynamic_range")]
    [InlineData("""{"model_type":"audio-dual-encoder","audio_config":{"stem_channels":[8,8,8,8]},"text_config":{}}""", "time_stride")]
    [InlineData("""
        {"model_type":"audio-dual-encoder","text_config":{},
         "audio_config":{"stem_channels":[8],"patch_size":4,"time_stride":4,"frequency_stride":4}}
        """, "stem_channels")]
    public void Configs_that_make_no_sense_are_refused(string config, string named)
    {
        var e = Assert.ThrowsAny<Exception>(() => Create(config));
        Assert.True(e is InvalidDataException or NotSupportedException, e.GetType().Name);
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    static IModelDefinition Create(string config) => ModelFamilies.Create(Encoding.UTF8.GetBytes(config), "random");

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    static double[] Embed(Plain w, double[] sound)
    {
        double peak = sound.Max();
        double[][][] x = [[.. Enumerable.Range(0, Bins).Select(f => Enumerable.Range(0, Frames) // [1][F][T]
            .Select(t => 2 * Math.Max(0, (sound[t * Bins + f] - peak) / Range + 1) - 1).ToArray())]];
        int[] strides = [1, 2, 2];
        for (int i = 0; i < strides.Length; i++)
        {
            string layer = $"audio_model.embeddings.stem.{i}.";
            x = Grouped(w, Convolve(w.Weight(layer + "conv.weight"), x, 3, strides[i], 1), layer + "norm");
        }
        x = Convolve(w.Weight("audio_model.embeddings.patch_embedding.weight"), x, 1, 1, 0);
        double[][] tokens =
        [
            w.Weight("audio_model.embeddings.cls_token"), w.Weight("audio_model.embeddings.distillation_token"),
            .. from f in Enumerable.Range(0, x[0].Length) from t in Enumerable.Range(0, x[0][0].Length) select x.Select(d => d[f][t]).ToArray(),
        ];
        tokens = Plain.Add(tokens, [.. w.Weight("audio_model.embeddings.position_embeddings").Chunk(Width)]);
        tokens = w.VitEncoder(tokens, "audio_model.", Layers, Heads, 1e-5);
        double[] pooled = [.. tokens[0].Zip(tokens[1], (a, b) => (a + b) / 2)];
        return Plain.Unit(w.Linear([pooled], "audio_projection", bias: false)[0]);
    }

    static double[][][] Convolve(double[] weight, double[][][] x, int kernel, int stride, int padding)
    {
        int into = x.Length, outputs = weight.Length / (into * kernel * kernel), height = x[0].Length, width = x[0][0].Length;
        int Size(int size) => (size + 2 * padding - kernel) / stride + 1;
        return [.. Enumerable.Range(0, outputs).Select(o => Enumerable.Range(0, Size(height)).Select(i => Enumerable.Range(0, Size(width)).Select(j =>
        {
            double sum = 0;
            for (int c = 0; c < into; c++)
                for (int p = 0; p < kernel * kernel; p++)
                    if (i * stride - padding + p / kernel is var y && y >= 0 && y < height && j * stride - padding + p % kernel is var z && z >= 0 && z < width)
                        sum += weight[(o * into + c) * kernel * kernel + p] * x[c][y][z];
            return sum;
        }).ToArray()).ToArray())];
    }

    /// <summary>Eight groups of channels, each brought to mean 0 and variance 1; then GELU.</summary>
    static double[][][] Grouped(Plain w, double[][][] x, string name)
    {
        double[] weight = w.Weight(name + ".weight"), bias = w.Weight(name + ".bias");
        int size = x.Length / 8;
        return [.. x.Select((plane, channel) =>
        {
            double[] group = [.. x.Skip(channel / size * size).Take(size).SelectMany(p => p.SelectMany(r => r))];
            double mean = group.Average(), variance = group.Average(v => (v - mean) * (v - mean));
            return Plain.Map(plane, v => Plain.Gelu((v - mean) / Math.Sqrt(variance + 1e-5) * weight[channel] + bias[channel]));
        })];
    }
}
