using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>How <see cref="TorchOps"/> interprets a program.</summary>
public sealed record TorchOpsOptions
{
    /// <summary>True: matrix products and convolutions run in bfloat16 on float32 master weights; norms, residuals and losses
    /// stay in float32.
    /// Pays where the processor multiplies bfloat16 faster than float32, as with AMX; with AVX512_BF16 alone such products take twice
    /// the time. Default false.</summary>
    public bool BFloat16 { get; init; }

    /// <summary>Share of patches dropped in training, 0 to below 1 (FLIP, arXiv:2212.00794). Default 0.</summary>
    public double PatchDropout
    {
        get;
        init => field = value is >= 0 and < 1 ? value : throw new ArgumentOutOfRangeException(nameof(value), value, "PatchDropout must be at least 0 and below 1.");
    }

    /// <summary>Source of the randomness of patch dropout and of the adapters' dropout; required where one of them is above 0, and
    /// its owner's to dispose.</summary>
    public Generator? Generator { get; init; }

    /// <summary>Low-rank adapters beside the layers that have them among the weights; null for none.</summary>
    public LoraConfig? Lora { get; init; }

    /// <summary>True while training: the adapters' inputs are dropped as <see cref="Lora"/> says. Default false.</summary>
    public bool LoraDropout { get; init; }
}

/// <summary>The engine that runs a program at once in TorchSharp, with gradients. Results belong to the caller's dispose
/// scope.</summary>
/// <param name="parameters">Weights by name.</param>
/// <param name="options">How to run; null for float32 without dropout.</param>
public sealed class TorchOps(IReadOnlyDictionary<string, Parameter> parameters, TorchOpsOptions? options = null) : ITensorOps<Tensor>
{
    readonly bool _bf16 = options?.BFloat16 ?? false;
    readonly TorchOpsOptions? _options = options is not ({ PatchDropout: > 0, Generator: null } or { LoraDropout: true, Lora.Dropout: > 0, Generator: null }) ? options
        : throw new ArgumentException($"PatchDropout {options.PatchDropout} or Lora's dropout needs a Generator.", nameof(options));

    Tensor Weight(Name name) => parameters.TryGetValue(name.ToString(), out Parameter? weight) ? weight
        : throw new KeyNotFoundException($"the model has no weight {name}.");

    Tensor Compute(Tensor x) => _bf16 && x.dtype == ScalarType.Float32 ? x.to(ScalarType.BFloat16) : x;

    static Tensor Full(Tensor x) => x.dtype == ScalarType.BFloat16 ? x.to(ScalarType.Float32) : x;

    /// <inheritdoc/>
    public Tensor Parameter(Name name, Init init, params ReadOnlySpan<int> shape) => Weight(name);

    /// <inheritdoc/>
    public Tensor Linear(Tensor x, Name name, int inWidth, int outWidth, bool bias = true, Init init = default) =>
        Adapted(x, name, Linear(x, Weight(name / "weight"), bias ? Weight(name / "bias") : null),
            (x, a, b) => Linear(Linear(x, a, null), b, null));

    /// <summary>y + scale B A x, where the layer has an adapter.</summary>
    Tensor Adapted(Tensor x, Name name, Tensor y, Func<Tensor, Tensor, Tensor, Tensor> product)
    {
        if (_options?.Lora is not { } lora || !parameters.TryGetValue(LoraAdapter.NameOfA(name.ToString()), out Parameter? a)) return y;
        if (_options.LoraDropout && lora.Dropout > 0)
        {
            using Tensor drawn = rand(x.shape, device: x.device, generator: _options.Generator);
            x = x * drawn.With(lora.Dropout, (d, share) => d.ge(share)).to(x.dtype).Times(1 / (1 - lora.Dropout));
        }
        return y.Plus(product(x, a, Weight(LoraAdapter.NameOfB(name.ToString()))).Times(lora.Scale));
    }

    /// <inheritdoc/>
    public Tensor Linear(Tensor x, Tensor weight, Tensor? bias) => F.linear(Compute(x), Compute(weight), bias is null ? null! : Compute(bias));

    /// <inheritdoc/>
    public Tensor Embedding(Tensor ids, Name name, int count, int width, Init init = default) =>
        Weight(name / "weight").index_select(0, ids.flatten()).reshape([.. ids.shape, width]);

    /// <inheritdoc/>
    public Tensor Embedding(Tensor ids, Tensor table) => table.index_select(0, ids.flatten()).reshape([.. ids.shape, table.shape[1]]);

    /// <inheritdoc/>
    public Tensor LayerNorm(Tensor x, Name name, float epsilon) =>
        F.layer_norm(Full(x), [x.shape[^1]], Weight(name / "weight"), Weight(name / "bias"), epsilon);

    /// <inheritdoc/>
    public Tensor LayerNorm(Tensor x, float epsilon) => F.layer_norm(Full(x), [x.shape[^1]], null, null, epsilon);

    /// <inheritdoc/>
    public Tensor RmsNorm(Tensor x, Name name, float epsilon)
    {
        Tensor full = Full(x);
        return full * full.Squared().mean([-1], keepdim: true).Plus(epsilon).rsqrt() * Weight(name / "weight");
    }

    /// <inheritdoc/>
    public Tensor GroupNorm(Tensor x, Name name, int groups, float epsilon) =>
        F.group_norm(Full(x), groups, Weight(name / "weight"), Weight(name / "bias"), epsilon);

    /// <inheritdoc/>
    public Tensor Conv2d(Tensor x, Name name, Conv2dConfig c)
    {
        return Adapted(x, name, Convolve(x, Weight(name / "weight"), c.Bias ? Weight(name / "bias") : null), (x, a, b) => c.Groups == 1
            ? F.conv2d(Convolve(x, a, null), Compute(b))
            : throw new NotSupportedException($"{name} is a convolution of {c.Groups} groups, which takes no adapter; leave it out of Targets."));

        Tensor Convolve(Tensor x, Tensor weight, Tensor? bias)
        {
            // On a CPU bfloat16 convolutions with few channels are slower than those in float32.
            bool full = x.device_type == DeviceType.CPU;
            return full ? F.conv2d(Full(x), weight, bias!, [c.Stride, c.Stride], [c.Padding, c.Padding], [1, 1], c.Groups)
                : F.conv2d(Compute(x), Compute(weight), bias is null ? null! : Compute(bias), [c.Stride, c.Stride], [c.Padding, c.Padding], [1, 1], c.Groups);
        }
    }

    /// <inheritdoc/>
    public Tensor Conv1d(Tensor x, Tensor weight, Tensor? bias, Conv1dConfig c) =>
        F.conv1d(Compute(x), Compute(weight), bias is null ? null : Compute(bias), c.Stride, c.Padding, c.Dilation, c.Groups);

    /// <inheritdoc/>
    public Tensor ConvTranspose1d(Tensor x, Tensor weight, Tensor? bias, int stride) =>
        F.conv_transpose1d(Compute(x), Compute(weight), bias is null ? null : Compute(bias), stride);

    /// <inheritdoc/>
    public Tensor Pad(Tensor x, Padding1d padding)
    {
        long length = x.shape[^1], before = padding.Before, after = padding.AfterOf(length);
        if (before == 0 && after == 0) return x;
        if (!padding.Reflects) return F.pad(x, (before, after), PaddingModes.Constant, 0);
        long lacking = Math.Max(0, Math.Max(before, after) - length + 1); // zeros for the mirror to see
        if (lacking > 0) x = F.pad(x, (0, lacking), PaddingModes.Constant, 0);
        return F.pad(x, (before, after), PaddingModes.Reflect).slice(-1, 0, length + before + after, 1);
    }

    /// <inheritdoc/>
    public Tensor Lstm(Tensor x, Name name, int inWidth, int width, int layers)
    {
        for (int l = 0; l < layers; l++)
        {
            Tensor inputs = Linear(x, Weight(name / $"weight_ih_l{l}"), Weight(name / $"bias_ih_l{l}").Plus(Weight(name / $"bias_hh_l{l}")));
            Tensor recurrent = Weight(name / $"weight_hh_l{l}");
            Tensor hidden = zeros([x.shape[0], width], x.dtype, x.device), cell = zeros_like(hidden);
            var states = new Tensor[x.shape[1]];
            for (int t = 0; t < states.Length; t++)
            {
                Tensor[] gates = Full(inputs.select(1, t).Plus(Linear(hidden, recurrent, null))).chunk(4, -1); // input, forget, cell, output
                cell = (gates[1].sigmoid() * cell).Plus(gates[0].sigmoid() * gates[2].tanh());
                states[t] = hidden = gates[3].sigmoid() * cell.tanh();
            }
            x = stack(states, 1);                                                                       // -> [B, L, width]
        }
        return x;
    }

    // In bfloat16 the backward pass of scaled_dot_product_attention is several times slower than batched products on a CPU; in float32 it is faster.
    /// <inheritdoc/>
    public Tensor Attention(Tensor q, Tensor k, Tensor v, Mask<Tensor> mask = default)
    {
        if (_bf16 && q.device_type == DeviceType.CPU) return AttentionWeights(q, k, mask).to(v.dtype).matmul(v);
        bool onlyCausal = mask is { Causal: true, Keep: null, Bias: null, Places: null };
        return F.scaled_dot_product_attention(q, k, v, onlyCausal ? null! : ScoreBias(mask, q, k)!, 0, onlyCausal);
    }

    /// <inheritdoc/>
    public Tensor AttentionWeights(Tensor q, Tensor k, Mask<Tensor> mask = default)
    {
        Tensor scores = q.Times(1 / Math.Sqrt(q.shape[^1])).matmul(k.transpose(-2, -1));
        Tensor? bias = ScoreBias(mask, q, k);
        return F.softmax(bias is null ? scores : scores.Plus(bias), -1);
    }

    const float MinBFloat16 = -3.3895314e38f; // float's own minimum would round to -infinity

    // One additive mask; a finite minimum instead of -infinity, so that a query without keys gets the mean instead of NaN.
    static Tensor? ScoreBias(Mask<Tensor> mask, Tensor q, Tensor k)
    {
        if (mask.IsEmpty) return null;
        Tensor? keep = mask.Keep is { } given ? (given.dim() == 2 ? given.unsqueeze(1).unsqueeze(1) : given) : null;
        if (mask.Causal)
        {
            Tensor causal = mask.Places is { } places
                ? TorchNumbers.Range(k.shape[^2], q.device).le(places.unsqueeze(1).unsqueeze(3))  // [B, 1, Lq, Lk]
                : ones(q.shape[^2], k.shape[^2], ScalarType.Bool, q.device).tril();
            keep = keep is null ? causal : keep.logical_and(causal);
        }
        Tensor bias = (mask.Bias ?? zeros(1, q.dtype, q.device)).to(q.dtype);
        return keep is null ? bias : torch.where(keep, bias, bias.With(q.dtype == ScalarType.BFloat16 ? MinBFloat16 : float.MinValue,
            (b, least) => full(1, least, b.dtype, b.device)));
    }

    /// <inheritdoc/>
    public Tensor SplitHeads(Tensor x, int heads) => x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] / heads).transpose(1, 2);

    /// <inheritdoc/>
    public Tensor MergeHeads(Tensor x) => x.transpose(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3]);

    /// <inheritdoc/>
    public Tensor Activate(Tensor x, Activation kind) => kind switch
    {
        Activation.Gelu => F.gelu(x),
        Activation.GeluTanh => F.gelu(x, TorchSharp.Modules.GELU.Approximate.tanh),
        Activation.QuickGelu => x * x.Times(1.702f).sigmoid(),
        Activation.Relu => F.relu(x),
        Activation.Silu => F.silu(x),
        Activation.Tanh => x.tanh(),
        Activation.Sigmoid => x.sigmoid(),
        Activation.Elu => x.With(1, (x, one) => x.elu(one, one, one)),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "unknown activation."),
    };

    /// <inheritdoc/>
    public Tensor Add(Tensor a, Tensor b) => a.Plus(b);

    /// <inheritdoc/>
    public Tensor Add(Tensor x, float c) => x.Plus(c);

    /// <inheritdoc/>
    public Tensor Subtract(Tensor a, Tensor b) => a - b;

    /// <inheritdoc/>
    public Tensor Multiply(Tensor a, Tensor b) => a * b;

    /// <inheritdoc/>
    public Tensor Multiply(Tensor x, float c) => x.Times(c);

    /// <inheritdoc/>
    public Tensor Divide(Tensor a, Tensor b) => a / b;

    /// <inheritdoc/>
    public Tensor Exp(Tensor x) => Full(x).exp();

    /// <inheritdoc/>
    public Tensor Equal(Tensor x, long value) => x.With(value, (x, v) => x.eq(v));

    /// <inheritdoc/>
    public Tensor Not(Tensor x) => x.logical_not();

    /// <inheritdoc/>
    public Tensor Where(Tensor condition, Tensor a, Tensor b) => torch.where(condition, a, b);

    /// <inheritdoc/>
    public Tensor MatMul(Tensor a, Tensor b) => a.dtype == b.dtype ? a.matmul(b) : Full(a).matmul(Full(b));

    /// <inheritdoc/>
    public Tensor Softmax(Tensor x, int axis) => F.softmax(x, axis);

    /// <inheritdoc/>
    public Tensor L2Normalize(Tensor x) => F.normalize(Full(x), 2, -1, 1e-12);

    /// <inheritdoc/>
    public Tensor Mean(Tensor x, int axis, bool keepDims = false) => x.mean([axis], keepDims);

    /// <inheritdoc/>
    public Tensor Sum(Tensor x, int axis, bool keepDims = false) => x.sum(axis, keepDims);

    /// <inheritdoc/>
    public Tensor Max(Tensor x, int axis) => x.amax([axis]);

    /// <inheritdoc/>
    public Tensor CumulativeSum(Tensor x, int axis) => x.cumsum(axis);

    /// <inheritdoc/>
    public Tensor ArgMax(Tensor x, int axis) => (x.dtype == ScalarType.Bool ? x.to(ScalarType.Int64) : x).argmax(axis);

    /// <inheritdoc/>
    public Tensor Rearrange(Tensor x, string pattern, params ReadOnlySpan<(string Axis, int Size)> sizes)
    {
        var (split, order, merged) = Rearrangement.Parse(pattern).Apply([.. x.shape.Select(s => (Dim)(int)s)], sizes);
        return x.reshape([.. split.Select(d => (long)d.Size)]).permute([.. order.Select(i => (long)i)]).reshape([.. merged.Select(d => (long)d.Size)]);
    }

    /// <inheritdoc/>
    public Tensor Concat(int axis, params ReadOnlySpan<Tensor> parts) => cat([.. parts], axis);

    /// <inheritdoc/>
    public Tensor Slice(Tensor x, int axis, int start, int end) => x.slice(axis, start, end == int.MaxValue ? x.shape[Shapes.Axis(axis, x.shape.Length)] : end, 1);

    /// <inheritdoc/>
    public Tensor SliceLike(Tensor x, int axis, Tensor like, int likeAxis) => x.slice(axis, 0, like.shape[Shapes.Axis(likeAxis, like.shape.Length)], 1);

    /// <inheritdoc/>
    public Tensor RepeatBatch(Tensor x, Tensor like) => x.expand([like.shape[0], .. x.shape]);

    /// <inheritdoc/>
    public Tensor PickToken(Tensor tokens, Tensor index) =>
        tokens.gather(1, index.reshape(-1, 1, 1).expand(tokens.shape[0], 1, tokens.shape[2])).squeeze(1);

    /// <inheritdoc/>
    public Tensor PickTokens(Tensor tokens, Tensor index) =>
        tokens.gather(1, index.unsqueeze(-1).expand(index.shape[0], index.shape[1], tokens.shape[2]));

    /// <inheritdoc/>
    public Tensor Largest(Tensor x, int count)
    {
        Tensor left = x.detach(), chosen = zeros_like(x, ScalarType.Bool);
        for (int i = 0; i < count; i++)
        {
            Tensor largest = left.argmax(-1, keepdim: true);
            Tensor next = zeros_like(chosen).scatter(-1, largest, ones_like(largest, ScalarType.Bool));
            chosen = chosen.logical_or(next);
            left = left.With(double.NegativeInfinity, (l, never) => l.masked_fill(next, never));
        }
        return chosen;
    }

    /// <inheritdoc/>
    public Tensor TakeTokens(Tensor x, Tensor keep, double share) => x.flatten(0, 1).index_select(0, Places(keep));

    /// <inheritdoc/>
    public Tensor PutTokens(Tensor rows, Tensor keep)
    {
        Tensor empty = zeros([keep.numel(), .. rows.shape[1..]], rows.dtype, rows.device);
        return empty.With(1, (e, one) => e.index_add(0, Places(keep), rows, one)).reshape([.. keep.shape, .. rows.shape[1..]]);
    }

    static Tensor Places(Tensor keep) => keep.flatten().nonzero().flatten();

    /// <inheritdoc/>
    public Tensor PatchDropout(Tensor tokens, int prefixTokens)
    {
        if (_options is not { PatchDropout: > 0 and var dropped }) return tokens;
        long batch = tokens.shape[0], patches = tokens.shape[1] - prefixTokens;
        long kept = Math.Max(1, (long)Math.Round(patches * (1 - dropped)));
        Tensor chosen = rand(batch, patches, device: tokens.device, generator: _options.Generator).argsort(-1).slice(1, 0, kept, 1).Plus(prefixTokens);
        Tensor prefix = TorchNumbers.Range(prefixTokens, tokens.device).expand(batch, prefixTokens);
        return PickTokens(tokens, cat([prefix, chosen], 1));                                            // [B, L, D] -> [B, L', D]
    }
}
