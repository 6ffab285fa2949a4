using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests;

/// <summary>A tensor of doubles; Int64 and Bool stand in it as numbers.</summary>
public sealed record OracleTensor(int[] Shape, double[] Values)
{
    public static OracleTensor From(TensorData data) => new([.. data.Shape.Select(d => (int)d)],
        data.Type == DType.F32 ? [.. data.ToSingles().Select(v => (double)v)] : [.. data.ToInt64s().Select(v => (double)v)]);

    /// <summary>A tensor whose value at each index is computed.</summary>
    public static OracleTensor Of(int[] shape, Func<int[], double> value)
    {
        var values = new double[shape.Aggregate(1, (n, d) => n * d)];
        var index = new int[shape.Length];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = value(index);
            for (int a = shape.Length - 1; a >= 0 && ++index[a] == shape[a]; a--) index[a] = 0;
        }
        return new(shape, values);
    }

    /// <summary>The value at an index; leading axes may be left out and axes of size 1 repeat, as broadcasting has it.</summary>
    public double At(params ReadOnlySpan<int> index)
    {
        int at = 0, skip = index.Length - Shape.Length;
        for (int a = 0; a < Shape.Length; a++) at = at * Shape[a] + (Shape[a] == 1 ? 0 : index[skip + a]);
        return Values[at];
    }
}

/// <summary>The operations in plain loops and double precision: what the engines are compared with.</summary>
public sealed class Oracle(IReadOnlyDictionary<string, TensorData> weights) : ITensorOps<OracleTensor>
{
    static OracleTensor Map(OracleTensor x, Func<double, double> f) => new(x.Shape, [.. x.Values.Select(f)]);

    static OracleTensor Zip(OracleTensor a, OracleTensor b, Func<double, double, double> f)
    {
        var shape = new int[Math.Max(a.Shape.Length, b.Shape.Length)];
        for (int i = 1; i <= shape.Length; i++)
            shape[^i] = Math.Max(i <= a.Shape.Length ? a.Shape[^i] : 1, i <= b.Shape.Length ? b.Shape[^i] : 1);
        return OracleTensor.Of(shape, i => f(a.At(i), b.At(i)));
    }

    static int Axis(OracleTensor x, int axis) => axis < 0 ? axis + x.Shape.Length : axis;

    static int[] Without(int[] index, int axis) => [.. index[..axis], .. index[(axis + 1)..]];

    /// <summary>A function of all values along one axis, which disappears.</summary>
    static OracleTensor Reduce(OracleTensor x, int axis, Func<double[], double> f)
    {
        axis = Axis(x, axis);
        return OracleTensor.Of(Without(x.Shape, axis), i => f([.. Enumerable.Range(0, x.Shape[axis]).Select(p => x.At([.. i[..axis], p, .. i[axis..]]))]));
    }

    static OracleTensor KeepAxis(OracleTensor x, int axis, OracleTensor reduced)
    {
        int[] shape = [.. x.Shape];
        shape[Axis(x, axis)] = 1;
        return new(shape, reduced.Values);
    }

    OracleTensor Weight(Name name) => OracleTensor.From(weights[name.ToString()]);

    public OracleTensor Parameter(Name name, Init init, params ReadOnlySpan<int> shape) => Weight(name);

    public OracleTensor Linear(OracleTensor x, Name name, int inWidth, int outWidth, bool bias = true, Init init = default) =>
        Linear(x, Weight(name / "weight"), bias ? Weight(name / "bias") : null);

    public OracleTensor Linear(OracleTensor x, OracleTensor weight, OracleTensor? bias) => OracleTensor.Of([.. x.Shape[..^1], weight.Shape[0]], i =>
    {
        double sum = bias?.At(i[^1]) ?? 0;
        for (int k = 0; k < weight.Shape[1]; k++) sum += x.At([.. i[..^1], k]) * weight.At(i[^1], k);
        return sum;
    });

    public OracleTensor Embedding(OracleTensor ids, Name name, int count, int width, Init init = default)
    {
        OracleTensor table = Weight(name / "weight");
        return OracleTensor.Of([.. ids.Shape, width], i => table.At((int)ids.At(i[..^1]), i[^1]));
    }

    public OracleTensor Embedding(OracleTensor ids, OracleTensor table) =>
        OracleTensor.Of([.. ids.Shape, table.Shape[1]], i => table.At((int)ids.At(i[..^1]), i[^1]));

    public OracleTensor LayerNorm(OracleTensor x, Name name, float epsilon) =>
        Add(Multiply(LayerNorm(x, epsilon), Weight(name / "weight")), Weight(name / "bias"));

    public OracleTensor LayerNorm(OracleTensor x, float epsilon)
    {
        OracleTensor centred = Subtract(x, Mean(x, -1, keepDims: true));
        return Multiply(centred, Map(Mean(Multiply(centred, centred), -1, keepDims: true), v => 1 / Math.Sqrt(v + epsilon)));
    }

    public OracleTensor RmsNorm(OracleTensor x, Name name, float epsilon) =>
        Multiply(Divide(x, Map(Mean(Multiply(x, x), -1, keepDims: true), v => Math.Sqrt(v + epsilon))), Weight(name / "weight"));

    public OracleTensor GroupNorm(OracleTensor x, Name name, int groups, float epsilon)
    {
        OracleTensor weight = Weight(name / "weight"), bias = Weight(name / "bias");
        int channels = x.Shape[1], size = channels / groups;
        return OracleTensor.Of(x.Shape, i =>
        {
            double sum = 0, squares = 0;
            int first = i[1] / size * size, count = size * x.Shape[2] * x.Shape[3];
            for (int c = first; c < first + size; c++)
                for (int h = 0; h < x.Shape[2]; h++)
                    for (int w = 0; w < x.Shape[3]; w++)
                    {
                        double value = x.At(i[0], c, h, w);
                        sum += value;
                        squares += value * value;
                    }
            double mean = sum / count;
            return (x.At(i) - mean) / Math.Sqrt(squares / count - mean * mean + epsilon) * weight.At(i[1]) + bias.At(i[1]);
        });
    }

    public OracleTensor Conv2d(OracleTensor x, Name name, Conv2dConfig c)
    {
        OracleTensor weight = Weight(name / "weight");
        OracleTensor? bias = c.Bias ? Weight(name / "bias") : null;
        int into = c.In / c.Groups, outOf = c.Out / c.Groups;
        return OracleTensor.Of([x.Shape[0], c.Out, c.OutSize(x.Shape[2]), c.OutSize(x.Shape[3])], i =>
        {
            double sum = bias?.At(i[1]) ?? 0;
            for (int channel = 0; channel < into; channel++)
                for (int dy = 0; dy < c.Kernel; dy++)
                    for (int dx = 0; dx < c.Kernel; dx++)
                    {
                        int y = i[2] * c.Stride - c.Padding + dy, z = i[3] * c.Stride - c.Padding + dx;
                        if (y < 0 || y >= x.Shape[2] || z < 0 || z >= x.Shape[3]) continue;
                        sum += weight.At(i[1], channel, dy, dx) * x.At(i[0], i[1] / outOf * into + channel, y, z);
                    }
            return sum;
        });
    }

    public OracleTensor Conv1d(OracleTensor x, OracleTensor weight, OracleTensor? bias, Conv1dConfig c) =>
        OracleTensor.Of([x.Shape[0], c.Out, c.OutSize(x.Shape[2])], i =>
        {
            double sum = bias?.At(i[1]) ?? 0;
            int into = c.In / c.Groups, first = i[1] / (c.Out / c.Groups) * into;
            for (int channel = 0; channel < into; channel++)
                for (int k = 0; k < c.Kernel; k++)
                {
                    int t = i[2] * c.Stride - c.Padding + k * c.Dilation;
                    if (t >= 0 && t < x.Shape[2]) sum += weight.At(i[1], channel, k) * x.At(i[0], first + channel, t);
                }
            return sum;
        });

    public OracleTensor ConvTranspose1d(OracleTensor x, OracleTensor weight, OracleTensor? bias, int stride)
    {
        int kernel = weight.Shape[2];
        return OracleTensor.Of([x.Shape[0], weight.Shape[1], (x.Shape[2] - 1) * stride + kernel], i =>
        {
            double sum = bias?.At(i[1]) ?? 0;
            for (int channel = 0; channel < x.Shape[1]; channel++)
                for (int t = 0; t < x.Shape[2]; t++)
                    if (i[2] - t * stride is >= 0 and var k && k < kernel) sum += x.At(i[0], channel, t) * weight.At(channel, i[1], k);
            return sum;
        });
    }

    public OracleTensor Pad(OracleTensor x, Padding1d padding)
    {
        int length = x.Shape[2], after = padding.After;
        while ((length + after - padding.After) % padding.Multiple != 0) after++;
        int mirror = Math.Max(length, Math.Max(padding.Before, after) + 1); // a short signal counts as followed by zeros
        return OracleTensor.Of([x.Shape[0], x.Shape[1], length + padding.Before + after], i =>
        {
            int t = i[2] - padding.Before;
            if (padding.Reflects) t = t < 0 ? -t : t >= mirror ? 2 * (mirror - 1) - t : t;
            return t >= 0 && t < length ? x.At(i[0], i[1], t) : 0;
        });
    }

    public OracleTensor Lstm(OracleTensor x, Name name, int inWidth, int width, int layers)
    {
        for (int l = 0; l < layers; l++)
        {
            OracleTensor wi = Weight(name / $"weight_ih_l{l}"), wh = Weight(name / $"weight_hh_l{l}");
            OracleTensor bi = Weight(name / $"bias_ih_l{l}"), bh = Weight(name / $"bias_hh_l{l}"), input = x;
            var states = new double[x.Shape[0], x.Shape[1], width];
            for (int b = 0; b < x.Shape[0]; b++)
            {
                double[] hidden = new double[width], cell = new double[width];
                for (int t = 0; t < x.Shape[1]; t++)
                {
                    double[] last = hidden;
                    double Gate(int gate) => bi.At(gate) + bh.At(gate)
                        + Enumerable.Range(0, wi.Shape[1]).Sum(d => wi.At(gate, d) * input.At(b, t, d))
                        + Enumerable.Range(0, width).Sum(d => wh.At(gate, d) * last[d]);
                    hidden = new double[width];
                    for (int u = 0; u < width; u++)
                    {
                        cell[u] = Sigmoid(Gate(width + u)) * cell[u] + Sigmoid(Gate(u)) * Math.Tanh(Gate(2 * width + u));
                        states[b, t, u] = hidden[u] = Sigmoid(Gate(3 * width + u)) * Math.Tanh(cell[u]);
                    }
                }
            }
            x = OracleTensor.Of([x.Shape[0], x.Shape[1], width], i => states[i[0], i[1], i[2]]);
        }
        return x;
    }

    static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    public OracleTensor Attention(OracleTensor q, OracleTensor k, OracleTensor v, Mask<OracleTensor> mask = default) => MatMul(AttentionWeights(q, k, mask), v);

    public OracleTensor AttentionWeights(OracleTensor q, OracleTensor k, Mask<OracleTensor> mask = default)
    {
        int keys = k.Shape[2];
        return OracleTensor.Of([q.Shape[0], q.Shape[1], q.Shape[2], keys], i =>
        {
            int[] kept = [.. Enumerable.Range(0, keys).Where(key => Keeps(mask, i, key))];
            if (kept.Length == 0) return 1.0 / keys; // a query that may attend to nothing gets the mean
            double sum = kept.Sum(key => Math.Exp(Score(q, k, mask, i, key)));
            return kept.Contains(i[3]) ? Math.Exp(Score(q, k, mask, i, i[3])) / sum : 0;
        });
    }

    static bool Keeps(Mask<OracleTensor> mask, int[] i, int key) =>
        (!mask.Causal || key <= (mask.Places is { } places ? places.At(i[0], i[2]) : i[2])) && (mask.Keep is not { } keep || (keep.Shape.Length == 2 ? keep.At(i[0], key) : keep.At(i[0], i[1], i[2], key)) == 1);

    static double Score(OracleTensor q, OracleTensor k, Mask<OracleTensor> mask, int[] i, int key) =>
        Enumerable.Range(0, q.Shape[3]).Sum(d => q.At(i[0], i[1], i[2], d) * k.At(i[0], i[1], key, d)) / Math.Sqrt(q.Shape[3])
        + (mask.Bias?.At(i[0], i[1], i[2], key) ?? 0);

    public OracleTensor SplitHeads(OracleTensor x, int heads)
    {
        int width = x.Shape[2] / heads;
        return OracleTensor.Of([x.Shape[0], heads, x.Shape[1], width], i => x.At(i[0], i[2], i[1] * width + i[3]));
    }

    public OracleTensor MergeHeads(OracleTensor x) => OracleTensor.Of([x.Shape[0], x.Shape[2], x.Shape[1] * x.Shape[3]],
        i => x.At(i[0], i[2] / x.Shape[3], i[1], i[2] % x.Shape[3]));

    public OracleTensor Activate(OracleTensor x, Activation kind) => Map(x, v => kind switch
    {
        Activation.Gelu => 0.5 * v * (1 + Erf(v / Math.Sqrt(2))),
        Activation.GeluTanh => 0.5 * v * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v))),
        Activation.QuickGelu => v / (1 + Math.Exp(-1.702 * v)),
        Activation.Relu => Math.Max(v, 0),
        Activation.Silu => v / (1 + Math.Exp(-v)),
        Activation.Tanh => Math.Tanh(v),
        Activation.Sigmoid => Sigmoid(v),
        Activation.Elu => v > 0 ? v : Math.Exp(v) - 1,
        _ => throw new NotSupportedException(kind.ToString()),
    });

    /// <summary>erf by its Maclaurin series, exact enough for |x| up to 4.</summary>
    static double Erf(double x)
    {
        double term = x, sum = x;
        for (int n = 1; n < 120; n++)
        {
            term *= -x * x / n;
            sum += term / (2 * n + 1);
        }
        return 2 / Math.Sqrt(Math.PI) * sum;
    }

    public OracleTensor Add(OracleTensor a, OracleTensor b) => Zip(a, b, (x, y) => x + y);

    public OracleTensor Add(OracleTensor x, float c) => Map(x, v => v + c);

    public OracleTensor Subtract(OracleTensor a, OracleTensor b) => Zip(a, b, (x, y) => x - y);

    public OracleTensor Multiply(OracleTensor a, OracleTensor b) => Zip(a, b, (x, y) => x * y);

    public OracleTensor Multiply(OracleTensor x, float c) => Map(x, v => v * c);

    public OracleTensor Divide(OracleTensor a, OracleTensor b) => Zip(a, b, (x, y) => x / y);

    public OracleTensor Exp(OracleTensor x) => Map(x, Math.Exp);

    public OracleTensor Equal(OracleTensor x, long value) => Map(x, v => v == value ? 1 : 0);

    public OracleTensor Not(OracleTensor x) => Map(x, v => v == 0 ? 1 : 0);

    public OracleTensor Where(OracleTensor condition, OracleTensor a, OracleTensor b)
    {
        OracleTensor shape = Zip(condition, Zip(a, b, (_, _) => 0), (_, _) => 0);
        return OracleTensor.Of(shape.Shape, i => condition.At(i) == 1 ? a.At(i) : b.At(i));
    }

    public OracleTensor MatMul(OracleTensor a, OracleTensor b)
    {
        int[] batch = Zip(OracleTensor.Of(a.Shape[..^2], _ => 0), OracleTensor.Of(b.Shape[..^2], _ => 0), (_, _) => 0).Shape;
        return OracleTensor.Of([.. batch, a.Shape[^2], b.Shape[^1]],
            i => Enumerable.Range(0, a.Shape[^1]).Sum(k => a.At([.. i[..^1], k]) * b.At([.. i[..^2], k, i[^1]])));
    }

    public OracleTensor Softmax(OracleTensor x, int axis)
    {
        OracleTensor exp = Map(x, Math.Exp);
        return Divide(exp, Sum(exp, axis, keepDims: true));
    }

    public OracleTensor L2Normalize(OracleTensor x) => Divide(x, Map(Sum(Multiply(x, x), -1, keepDims: true), v => Math.Max(Math.Sqrt(v), 1e-12)));

    public OracleTensor Mean(OracleTensor x, int axis, bool keepDims = false) => Reduced(x, axis, keepDims, v => v.Average());

    public OracleTensor Sum(OracleTensor x, int axis, bool keepDims = false) => Reduced(x, axis, keepDims, v => v.Sum());

    public OracleTensor Max(OracleTensor x, int axis) => Reduce(x, axis, v => v.Max());

    public OracleTensor CumulativeSum(OracleTensor x, int axis)
    {
        int at = axis < 0 ? axis + x.Shape.Length : axis;
        return OracleTensor.Of(x.Shape, i => Enumerable.Range(0, i[at] + 1).Sum(k => x.At([.. i[..at], k, .. i[(at + 1)..]])));
    }

    static OracleTensor Reduced(OracleTensor x, int axis, bool keepDims, Func<double[], double> f) =>
        keepDims ? KeepAxis(x, axis, Reduce(x, axis, f)) : Reduce(x, axis, f);

    public OracleTensor ArgMax(OracleTensor x, int axis) => Reduce(x, axis, v => Array.IndexOf(v, v.Max()));

    /// <summary>Reads the pattern itself: the value at an output index is looked up axis by axis.</summary>
    public OracleTensor Rearrange(OracleTensor x, string pattern, params ReadOnlySpan<(string Axis, int Size)> sizes)
    {
        string[][][] sides = [.. pattern.Split("->").Select(Groups)];
        var size = new Dictionary<string, int>();
        foreach (var (axis, count) in sizes) size[axis] = count;
        for (int g = 0; g < sides[0].Length; g++)
        {
            string[] open = [.. sides[0][g].Where(a => !size.ContainsKey(a))];
            if (open.Length == 1) size[open[0]] = x.Shape[g] / sides[0][g].Where(size.ContainsKey).Aggregate(1, (p, a) => p * size[a]);
        }
        return OracleTensor.Of([.. sides[1].Select(g => g.Aggregate(1, (p, a) => p * size[a]))], i =>
        {
            var at = new Dictionary<string, int>();
            for (int g = 0; g < sides[1].Length; g++)
            {
                int rest = i[g];
                foreach (string axis in sides[1][g].Reverse())
                {
                    at[axis] = rest % size[axis];
                    rest /= size[axis];
                }
            }
            return x.At([.. sides[0].Select(g => g.Aggregate(0, (p, a) => p * size[a] + at[a]))]);
        });
    }

    static string[][] Groups(string side) => [.. System.Text.RegularExpressions.Regex.Matches(side, @"\(([^)]*)\)|(\w+)")
        .Select(m => m.Value.Trim('(', ')').Split(' ', StringSplitOptions.RemoveEmptyEntries))];

    public OracleTensor Concat(int axis, params ReadOnlySpan<OracleTensor> parts)
    {
        OracleTensor result = parts[0];
        foreach (OracleTensor part in parts[1..])
        {
            OracleTensor first = result;
            int at = Axis(first, axis), split = first.Shape[at];
            int[] shape = [.. first.Shape];
            shape[at] += part.Shape[at];
            result = OracleTensor.Of(shape, i => i[at] < split ? first.At(i) : part.At([.. i[..at], i[at] - split, .. i[(at + 1)..]]));
        }
        return result;
    }

    public OracleTensor Slice(OracleTensor x, int axis, int start, int end)
    {
        int at = Axis(x, axis), stop = end == int.MaxValue ? x.Shape[at] : end < 0 ? x.Shape[at] + end : end;
        int[] shape = [.. x.Shape];
        shape[at] = stop - start;
        return OracleTensor.Of(shape, i => x.Values[Flat(x, [.. i[..at], i[at] + start, .. i[(at + 1)..]])]);
    }

    static int Flat(OracleTensor x, int[] index) => index.Select((p, a) => (p, a)).Aggregate(0, (at, e) => at * x.Shape[e.a] + e.p);

    public OracleTensor SliceLike(OracleTensor x, int axis, OracleTensor like, int likeAxis) => Slice(x, axis, 0, like.Shape[Axis(like, likeAxis)]);

    public OracleTensor RepeatBatch(OracleTensor x, OracleTensor like) => OracleTensor.Of([like.Shape[0], .. x.Shape], i => x.At(i[1..]));

    public OracleTensor PickToken(OracleTensor tokens, OracleTensor index) =>
        OracleTensor.Of([tokens.Shape[0], tokens.Shape[2]], i => tokens.At(i[0], (int)index.At(i[0]), i[1]));

    public OracleTensor PickTokens(OracleTensor tokens, OracleTensor index) => OracleTensor.Of(
        [tokens.Shape[0], index.Shape[1], tokens.Shape[2]], i => tokens.At(i[0], (int)index.At(i[0], i[1]), i[2]));

    public OracleTensor Largest(OracleTensor x, int count)
    {
        double[] values = new double[x.Values.Length];
        int width = x.Shape[^1];
        for (int start = 0; start < values.Length; start += width)
            foreach (int i in Enumerable.Range(start, width).OrderByDescending(i => x.Values[i]).ThenBy(i => i).Take(count)) values[i] = 1;
        return new(x.Shape, values);
    }

    public OracleTensor TakeTokens(OracleTensor x, OracleTensor keep, double share)
    {
        int width = x.Shape[2];
        int[] kept = [.. Enumerable.Range(0, keep.Values.Length).Where(i => keep.Values[i] != 0)];
        return new([kept.Length, width], [.. kept.SelectMany(i => x.Values[(i * width)..((i + 1) * width)])]);
    }

    public OracleTensor PutTokens(OracleTensor rows, OracleTensor keep)
    {
        int next = 0, width = rows.Shape[1];
        return new([.. keep.Shape, width], [.. keep.Values.SelectMany(k => k == 0 ? new double[width]
            : rows.Values[(next * width)..(++next * width)])]);
    }

    public OracleTensor PatchDropout(OracleTensor tokens, int prefixTokens) => tokens;
}
