using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>The tokenizer of pictures against plain loops in double precision, in every engine.</summary>
public sealed class VqTokenizerTests
{
    const double Tolerance = 2e-5; // the sums are float32 here and double there; values are of the order of 1, through nine convolutions
    const int Size = 8, Side = 2, Width = 16, Latent = 6, Codes = 11;

    const string Json = """
        {"model_type":"vq-tokenizer","image_size":8,"patch_size":4,"num_channels":3,"hidden_size":16,"num_res_blocks":1,"embed_dim":6,"num_embeddings":11}
        """;

    public static TheoryData<string> EngineNames => Engines.Names;

    /// <summary>[C][H * W] -> [out][H' * W'].</summary>
    static double[][] Convolve(Plain w, double[][] x, string name, int side, int kernel, int stride, int padding)
    {
        double[] weight = w.Weight(name + ".weight"), bias = w.Weight(name + ".bias");
        int into = x.Length, to = (side + 2 * padding - kernel) / stride + 1;
        return [.. bias.Select((b, o) =>
        {
            var y = new double[to * to];
            for (int p = 0; p < y.Length; p++)
            {
                y[p] = b;
                for (int c = 0; c < into; c++)
                    for (int k = 0; k < kernel * kernel; k++)
                    {
                        int row = p / to * stride + k / kernel - padding, column = p % to * stride + k % kernel - padding;
                        if (row >= 0 && row < side && column >= 0 && column < side) y[p] += weight[(o * into + c) * kernel * kernel + k] * x[c][row * side + column];
                    }
            }
            return y;
        })];
    }

    static double[][] Normalized(Plain w, double[][] x, string name)
    {
        double[] weight = w.Weight(name + ".weight"), bias = w.Weight(name + ".bias");
        int group = x.Length / 8;
        return [.. x.Select((channel, c) =>
        {
            double[] all = [.. x.Skip(c / group * group).Take(group).SelectMany(v => v)];
            double mean = all.Average(), deviation = Math.Sqrt(all.Average(v => (v - mean) * (v - mean)) + 1e-6);
            return channel.Select(v => Plain.Silu((v - mean) / deviation * weight[c] + bias[c])).ToArray();
        })];
    }

    static double[][] Residual(Plain w, double[][] x, string name)
    {
        double[][] h = Convolve(w, Normalized(w, x, name + ".norm1"), name + ".conv1", Side, 3, 1, 1);
        return Plain.Add(x, Convolve(w, Normalized(w, h, name + ".norm2"), name + ".conv2", Side, 1, 1, 0));
    }

    /// <summary>[N][D].</summary>
    static double[][] Encode(Plain w, double[] pixels)
    {
        double[][] x = Convolve(w, [.. pixels.Chunk(Size * Size)], "encoder.conv_in", Size, 3, 1, 1);
        x = Convolve(w, Plain.Map(x, Plain.Silu), "encoder.down.0", 8, 4, 2, 1);
        x = Convolve(w, Plain.Map(x, Plain.Silu), "encoder.down.1", 4, 4, 2, 1);
        x = Convolve(w, Normalized(w, Residual(w, x, "encoder.blocks.0"), "encoder.norm_out"), "encoder.conv_out", Side, 1, 1, 0);
        return [.. Enumerable.Range(0, Side * Side).Select(p => x.Select(channel => channel[p]).ToArray())];
    }

    static double[] Decode(Plain w, double[][] latent)
    {
        double[][] x = [.. Enumerable.Range(0, Latent).Select(d => latent.Select(v => v[d]).ToArray())];
        x = Residual(w, Convolve(w, x, "decoder.conv_in", Side, 3, 1, 1), "decoder.blocks.0");
        for (int i = 0, side = Side; i < 2; i++, side *= 2)
        {
            double[][] wide = Convolve(w, Plain.Map(x, Plain.Silu), $"decoder.up.{i}", side, 3, 1, 1);
            int to = 2 * side, from = side;
            x = [.. Enumerable.Range(0, Width).Select(c => Enumerable.Range(0, to * to).Select(p =>
            {
                int row = p / to, column = p % to;
                return wide[4 * c + row % 2 * 2 + column % 2][row / 2 * from + column / 2];
            }).ToArray())];
        }
        return [.. Convolve(w, Normalized(w, x, "decoder.norm_out"), "decoder.conv_out", Size, 3, 1, 1).SelectMany(c => c)];
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Pictures_to_codes_and_back(string engine)
    {
        var folder = new FamilyFolder(Json);
        var model = (VqTokenizerModel)folder.Model;
        Plain w = folder.Oracle;
        var random = new Random(1);
        double[][] pictures = [.. Enumerable.Range(0, 3).Select(_ => Enumerable.Range(0, 3 * Size * Size).Select(_ => (double)(float)(random.NextDouble() * 4 - 2)).ToArray())];
        double[][] table = [.. w.Weight("quantizer.embed").Chunk(Latent)];
        double[][][] latents = [.. pictures.Select(p => Encode(w, p))];
        long[] codes = [.. latents.SelectMany(l => l.Select(v => (long)Enumerable.Range(0, Codes).MinBy(k => v.Zip(table[k], (a, b) => (a - b) * (a - b)).Sum())))];
        double[][] painted = [.. codes.Chunk(Side * Side).Select(c => Decode(w, [.. c.Select(k => table[k])]))];

        var inputs = new Dictionary<string, TensorData> { ["pixel_values"] = TensorData.From([.. pictures.SelectMany(p => p).Select(v => (float)v)], 3, 3, Size, Size) };
        var got = folder.Run(engine, model.Full, inputs);
        Check("latent", latents.SelectMany(l => l), got["latent"]);
        Assert.Equal(codes, got["codes"].ToInt64s());
        Assert.True(codes.Distinct().Count() > 2, "one code for all would show nothing");
        Check("reconstruction", painted, got["reconstruction"]);
        Assert.Equal(codes, folder.Run(engine, model.Encoder, inputs)["codes"].ToInt64s());
        var decoded = folder.Run(engine, model.Decoder, new Dictionary<string, TensorData> { ["codes"] = TensorData.From(codes, 3, Side * Side) });
        Check("pixel_values", painted, decoded["pixel_values"]);
    }

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    [Theory]
    [InlineData("\"patch_size\":6", "patch_size 6")]
    [InlineData("\"image_size\":30", "image_size 30")]
    [InlineData("\"hidden_size\":12", "hidden_size 12")]
    public void Configs_that_make_no_sense_are_refused(string field, string named)
    {
        var e = Assert.Throws<InvalidDataException>(() => ModelFamilies.Create(Encoding.UTF8.GetBytes($$"""{"model_type":"vq-tokenizer",{{field}}}"""), "wrong"));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_written_config_describes_the_same_model()
    {
        var model = (VqTokenizerModel)ModelFamilies.Create(Encoding.UTF8.GetBytes(Json), "given");
        Assert.Equal(model.Config, ((VqTokenizerModel)ModelFamilies.Create(Encoding.UTF8.GetBytes(model.ToConfigJson()), "written")).Config);
    }
}
