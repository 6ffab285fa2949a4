using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>Parts of published architectures by plain loops in double precision, straight from the papers and the weight names of
/// Hugging Face's code; nothing of the library but the weights. One item at a time: tokens are rows.</summary>
sealed class Plain(IReadOnlyDictionary<string, TensorData> weights)
{
    public double[] Weight(string name) => Array.ConvertAll(weights[name].ToSingles(), v => (double)v);

    public double[] Row(string name, int row, int width) => Weight(name)[(row * width)..((row + 1) * width)];

    public double[][] Linear(double[][] x, string name, bool bias = true) =>
        Product(x, Weight(name + ".weight"), bias ? Weight(name + ".bias") : null);

    /// <summary>Rows [start, start + count) of a packed matrix and bias.</summary>
    public double[][] Packed(double[][] x, string matrix, string bias, int start, int count)
    {
        int width = x[0].Length;
        return Product(x, Weight(matrix)[(start * width)..((start + count) * width)], Weight(bias)[start..(start + count)]);
    }

    static double[][] Product(double[][] x, double[] w, double[]? b)
    {
        int inWidth = x[0].Length, outWidth = w.Length / inWidth;
        return Array.ConvertAll(x, row =>
        {
            var y = new double[outWidth];
            for (int o = 0; o < outWidth; o++)
            {
                double sum = b is null ? 0 : b[o];
                for (int i = 0; i < inWidth; i++) sum += w[o * inWidth + i] * row[i];
                y[o] = sum;
            }
            return y;
        });
    }

    public double[][] Norm(double[][] x, string name, double epsilon)
    {
        double[] w = Weight(name + ".weight"), b = Weight(name + ".bias");
        return Array.ConvertAll(x, row =>
        {
            double mean = row.Average(), variance = row.Average(v => (v - mean) * (v - mean));
            return row.Select((v, i) => (v - mean) / Math.Sqrt(variance + epsilon) * w[i] + b[i]).ToArray();
        });
    }

    /// <summary><paramref name="bias"/> of head, query and key is added to the scores.</summary>
    public static double[][] Attend(double[][] q, double[][] k, double[][] v, int heads, Func<int, bool>? keep = null,
        Func<int, int, int, double>? bias = null)
    {
        int width = q[0].Length, hd = width / heads;
        var y = q.Select(_ => new double[width]).ToArray();
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < q.Length; i++)
            {
                var score = new double[k.Length];
                for (int j = 0; j < k.Length; j++)
                {
                    for (int d = h * hd; d < (h + 1) * hd; d++) score[j] += q[i][d] * k[j][d];
                    score[j] = keep is null || keep(j) ? score[j] / Math.Sqrt(hd) + (bias?.Invoke(h, i, j) ?? 0) : double.NegativeInfinity;
                }
                double top = score.Max(), sum = score.Sum(s => Math.Exp(s - top));
                for (int j = 0; j < k.Length; j++)
                    for (int d = h * hd; d < (h + 1) * hd; d++) y[i][d] += Math.Exp(score[j] - top) / sum * v[j][d];
            }
        return y;
    }

    public static double[][] Add(double[][] a, double[][] b) => [.. a.Zip(b, (x, y) => x.Zip(y, (v, w) => v + w).ToArray())];

    public static double[][] Map(double[][] x, Func<double, double> f) => Array.ConvertAll(x, row => Array.ConvertAll(row, v => f(v)));

    public static double Gelu(double v)
    {
        double x = v / Math.Sqrt(2), term = x, sum = x; // the power series of erf
        for (int n = 1; n < 200; n++)
        {
            term *= -x * x / n;
            sum += term / (2 * n + 1);
        }
        return 0.5 * v * (1 + 2 / Math.Sqrt(Math.PI) * sum);
    }

    public static double GeluTanh(double v) => 0.5 * v * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)));

    public static double Silu(double v) => v / (1 + Math.Exp(-v));

    public static double[] Unit(double[] x)
    {
        double length = Math.Sqrt(x.Sum(v => v * v));
        return Array.ConvertAll(x, v => v / length);
    }

    /// <summary>[3, S, S] -> one row per patch, in reading order.</summary>
    public double[][] Patches(double[] pixels, int size, int patch, string name, bool bias)
    {
        double[] w = Weight(name + ".weight");
        double[]? b = bias ? Weight(name + ".bias") : null;
        int side = size / patch, width = w.Length / (3 * patch * patch);
        var rows = new double[side * side][];
        for (int p = 0; p < rows.Length; p++)
        {
            rows[p] = new double[width];
            for (int o = 0; o < width; o++)
            {
                double sum = b is null ? 0 : b[o];
                for (int c = 0; c < 3; c++)
                    for (int y = 0; y < patch; y++)
                        for (int x = 0; x < patch; x++)
                            sum += w[((o * 3 + c) * patch + y) * patch + x]
                                * pixels[(c * size + p / side * patch + y) * size + p % side * patch + x];
                rows[p][o] = sum;
            }
        }
        return rows;
    }

    // ---- blocks ----

    double[][] SelfAttention(double[][] x, string q, string k, string v, string o, int heads, Func<int, bool>? keep = null) =>
        Linear(Attend(Linear(x, q), Linear(x, k), Linear(x, v), heads, keep), o);

    public double[][] SiglipEncoder(double[][] x, string name, int layers, int heads)
    {
        for (int i = 0; i < layers; i++)
        {
            string n = $"{name}.layers.{i}", a = n + ".self_attn.";
            x = Add(x, SelfAttention(Norm(x, n + ".layer_norm1", 1e-6), a + "q_proj", a + "k_proj", a + "v_proj", a + "out_proj", heads));
            x = Add(x, Linear(Map(Linear(Norm(x, n + ".layer_norm2", 1e-6), n + ".mlp.fc1"), GeluTanh), n + ".mlp.fc2"));
        }
        return x;
    }

    public double[][] VitEncoder(double[][] x, string name, int layers, int heads, double epsilon)
    {
        for (int i = 0; i < layers; i++) x = VitBlock(x, $"{name}encoder.layer.{i}", heads, epsilon);
        return Norm(x, name + "layernorm", epsilon);
    }

    /// <summary>One block; <paramref name="results"/> is given what its feed-forward part gives before it is added.</summary>
    public double[][] VitBlock(double[][] x, string n, int heads, double epsilon, ICollection<double[][]>? results = null)
    {
        string a = n + ".attention.attention.";
        x = Add(x, SelfAttention(Norm(x, n + ".layernorm_before", epsilon), a + "query", a + "key", a + "value", n + ".attention.output.dense", heads));
        double[][] h = Linear(Map(Linear(Norm(x, n + ".layernorm_after", epsilon), n + ".intermediate.dense"), Gelu), n + ".output.dense");
        results?.Add(h);
        return Add(x, h);
    }

    public double[][] Dinov2Encoder(double[][] x, int layers, int heads, bool gated)
    {
        for (int i = 0; i < layers; i++)
        {
            string n = $"encoder.layer.{i}", a = n + ".attention.attention.";
            double[][] h = SelfAttention(Norm(x, n + ".norm1", 1e-6), a + "query", a + "key", a + "value", n + ".attention.output.dense", heads);
            x = Add(x, Scaled(h, n + ".layer_scale1.lambda1"));
            h = Norm(x, n + ".norm2", 1e-6);
            if (gated)
            {
                h = Linear(h, n + ".mlp.weights_in");
                int half = h[0].Length / 2;
                h = Array.ConvertAll(h, row => Enumerable.Range(0, half).Select(d => Silu(row[d]) * row[half + d]).ToArray());
                h = Linear(h, n + ".mlp.weights_out");
            }
            else h = Linear(Map(Linear(h, n + ".mlp.fc1"), Gelu), n + ".mlp.fc2");
            x = Add(x, Scaled(h, n + ".layer_scale2.lambda1"));
        }
        return Norm(x, "layernorm", 1e-6);
    }

    public double[][] Scaled(double[][] x, string name)
    {
        double[] scale = Weight(name);
        return Array.ConvertAll(x, row => row.Select((v, i) => v * scale[i]).ToArray());
    }

    public double[][] Bert(long[] ids, bool[] keep, string name, int width, int layers, int heads, int firstPosition, double epsilon,
        ICollection<double[][]>? results = null)
    {
        string e = name + "embeddings.";
        double[][] x = [.. ids.Select((id, i) =>
            Row(e + "word_embeddings.weight", (int)id, width)
                .Zip(Row(e + "position_embeddings.weight", firstPosition + i, width), (a, b) => a + b)
                .Zip(Row(e + "token_type_embeddings.weight", 0, width), (a, b) => a + b).ToArray())];
        x = Norm(x, e + "LayerNorm", epsilon);
        for (int i = 0; i < layers; i++) x = BertBlock(x, $"{name}encoder.layer.{i}", heads, epsilon, j => keep[j], results: results);
        return x;
    }

    /// <summary>True: the norms of BERT's blocks stand before their parts, not after the sum.</summary>
    public bool NormFirst { get; init; }

    /// <summary>A block of BERT; with a context one whose tokens then attend to it.</summary>
    public double[][] BertBlock(double[][] x, string n, int heads, double epsilon, Func<int, bool>? keep = null, double[][]? context = null,
        Func<int, bool>? keepContext = null, ICollection<double[][]>? results = null)
    {
        x = Part(x, ".attention.output.LayerNorm", h =>
        {
            string a = n + ".attention.self.";
            return SelfAttention(h, a + "query", a + "key", a + "value", n + ".attention.output.dense", heads, keep);
        });
        if (context is not null)
        {
            string a = n + ".crossattention.self.";
            x = Part(x, ".crossattention.output.LayerNorm", h => Linear(
                Attend(Linear(h, a + "query"), Linear(context, a + "key"), Linear(context, a + "value"), heads, keepContext), n + ".crossattention.output.dense"));
        }
        return Part(x, ".output.LayerNorm", h =>
        {
            h = Linear(Map(Linear(h, n + ".intermediate.dense"), Gelu), n + ".output.dense");
            results?.Add(h);
            return h;
        });

        double[][] Part(double[][] t, string norm, Func<double[][], double[][]> part) =>
            NormFirst ? Add(t, part(Norm(t, n + norm, epsilon))) : Norm(Add(t, part(t)), n + norm, epsilon);
    }

    public double[] Pooler(double[][] tokens, string name) => Map(Linear([tokens[0]], name + "pooler.dense"), Math.Tanh)[0];
}
