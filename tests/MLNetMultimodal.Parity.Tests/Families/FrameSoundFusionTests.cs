using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>The fusion of frames and soundtrack against plain loops in double precision, in every engine; its towers have tests of
/// their own.</summary>
public sealed class FrameSoundFusionTests
{
    const double Tolerance = 1e-5; // the sums are float32 here and double there
    const int Batch = 2;

    static readonly FrameSoundFusionConfig Tiny = FrameSoundFusionConfig.Tiny with { Frames = 5 };
    static readonly FamilyFolder Folder = new(new FrameSoundFusionModel(Tiny).ToConfigJson());

    public static TheoryData<string> EngineNames => Engines.Names;

    // The model with the tokens that are fused, so that the fusion can be computed again.
    sealed class Opened : IProgram
    {
        public string Name => "opened";

        public IReadOnlyList<TensorSpec> Inputs => Folder.Model.Full.Inputs;

        public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T pixels = ops.Rearrange(inputs["pixel_values"], "b t c h w -> (b t) c h w");
            return
            [
                ("seen", VisionTransformer.Encode(ops, "vision_model", Tiny.Vision, pixels).Pooled),
                ("heard", Ast.Encode(ops, "audio_model", Tiny.Audio, inputs["input_values"])),
                .. Folder.Model.Full.Run(ops, inputs),
            ];
        }
    }

    static Dictionary<string, TensorData> Inputs(int batch = Batch)
    {
        var random = new Random(3);
        TensorData Draw(params long[] shape) =>
            TensorData.From([.. Enumerable.Range(0, (int)shape.Aggregate((a, b) => a * b)).Select(_ => random.NextSingle() * 4 - 2)], shape);
        return new()
        {
            ["pixel_values"] = Draw(batch, Tiny.Frames, 3, 16, 16),
            ["input_values"] = Draw(batch, Tiny.Audio.Frames, Tiny.Audio.MelBins),
        };
    }

    static double[][] Rows(TensorData tensor, int width) => [.. Array.ConvertAll(tensor.ToSingles(), v => (double)v).Chunk(width)];

    static void Check(string name, IEnumerable<double> expected, IEnumerable<float> got) =>
        Difference.Check(name, [.. expected.Select(v => (float)v)], [.. got], Tolerance, Tolerance);

    /// <summary>The attention map is read off the attention itself: values that are unit vectors give back the weights.</summary>
    static double[][] Map(double[][] q, double[][] k, int heads)
    {
        int width = q[0].Length, hd = width / heads;
        var map = q.Select(_ => new double[k.Length]).ToArray();
        for (int j = 0; j < k.Length; j++)
        {
            double[][] marked = [.. k.Select((_, other) => Enumerable.Repeat(other == j ? 1.0 : 0, width).ToArray())];
            double[][] looked = Plain.Attend(q, k, marked, heads);
            for (int i = 0; i < q.Length; i++) map[i][j] = Enumerable.Range(0, heads).Average(h => looked[i][h * hd]);
        }
        return map;
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Frames_listen_to_moments_as_plain_loops_say(string engine)
    {
        IReadOnlyDictionary<string, TensorData> got = Folder.Run(engine, new Opened(), Inputs());
        Plain w = Folder.Oracle;
        int width = Tiny.Block.Width, moments = Tiny.Moments, frames = Tiny.Frames, across = Tiny.Audio.Patches / moments;
        Assert.Equal([Batch, frames, moments], got["attention_map"].Shape);
        double[][] seen = Rows(got["seen"], Tiny.Vision.Blocks.Width), heard = Rows(got["heard"], Tiny.Audio.Blocks.Width);
        for (int b = 0; b < Batch; b++)
        {
            double[][] patches = heard[(b * (2 + Tiny.Audio.Patches) + 2)..((b + 1) * (2 + Tiny.Audio.Patches))];
            double[][] columns = [.. Enumerable.Range(0, moments).Select(s => Enumerable.Range(0, Tiny.Audio.Blocks.Width).Select(d =>
                Enumerable.Range(0, across).Average(f => patches[f * moments + s][d])).ToArray())];
            double[][] k = w.Norm(Plain.Add(w.Linear(columns, "moment_projection"), [.. w.Weight("moment_position").Chunk(width)]), "fusion.moment_norm", 1e-5);
            double[][] x = Plain.Add(w.Linear(seen[(b * frames)..((b + 1) * frames)], "frame_projection"), [.. w.Weight("frame_position").Chunk(width)]);
            double[][] q = w.Norm(x, "fusion.frame_norm", 1e-5);
            double[][] asked = w.Linear(q, "fusion.cross_attn.q_proj"), offered = w.Linear(k, "fusion.cross_attn.k_proj");
            double[][] map = Map(asked, offered, Tiny.Block.Heads);
            Check("attention_map", map.SelectMany(r => r), got["attention_map"].ToSingles().Skip(b * frames * moments).Take(frames * moments));
            double[][] taken = Plain.Attend(asked, offered, w.Linear(k, "fusion.cross_attn.v_proj"), Tiny.Block.Heads);
            x = Plain.Add(x, w.Linear(taken, "fusion.cross_attn.out_proj"));
            double[][] h = Plain.Map(w.Linear(w.Norm(x, "fusion.mlp_norm", 1e-5), "fusion.mlp.fc1"), Plain.Gelu);
            x = w.Norm(Plain.Add(x, w.Linear(h, "fusion.mlp.fc2")), "fusion.norm", 1e-5);
            Check("frame_embeds", x.SelectMany(r => r), got["frame_embeds"].ToSingles().Skip(b * frames * width).Take(frames * width));
            double[] pooled = [.. Enumerable.Range(0, width).Select(d => x.Average(r => r[d]))];
            Check("fused_embeds", Plain.Unit(pooled), got["fused_embeds"].ToSingles().Skip(b * width).Take(width));
            Check("match_logits", w.Linear([pooled], "match")[0], got["match_logits"].ToSingles().Skip(b).Take(1));
        }
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Each_clip_is_fused_by_itself(string engine)
    {
        Dictionary<string, TensorData> two = Inputs();
        Dictionary<string, TensorData> first = two.ToDictionary(i => i.Key, i =>
            TensorData.From(i.Value.ToSingles()[..(i.Value.ToSingles().Length / 2)], [1, .. i.Value.Shape.Skip(1)]));
        var together = Folder.Run(engine, Folder.Model.Full, two);
        foreach (var (name, alone) in Folder.Run(engine, Folder.Model.Full, first))
            Difference.Check(name, alone.ToSingles(), together[name].ToSingles()[..alone.ToSingles().Length], Tolerance, Tolerance);
    }

    [Fact]
    public void Config_survives_its_file()
    {
        string json = Folder.Model.ToConfigJson();
        var again = (FrameSoundFusionModel)ModelFamilies.Create(System.Text.Encoding.UTF8.GetBytes(json), "again");
        Assert.Equal(json, again.ToConfigJson());
        Assert.Equal((5, 8, 32), (again.Config.Frames, again.Config.Moments, again.EmbeddingWidth));
    }
}
