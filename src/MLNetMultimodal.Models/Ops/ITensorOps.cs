namespace MLNetMultimodal.Models.Ops;

/// <summary>The operations that a model is written in. An engine is an interpreter of them: TorchSharp runs them with gradients,
/// the ONNX recorder writes
/// them down as a graph, the summary counts them. Shapes in the comments: B batch, L tokens, D width, nh heads, hd head width.
/// Arithmetic broadcasts as NumPy does; axes may be negative.</summary>
/// <typeparam name="T">The engine's tensor.</typeparam>
public interface ITensorOps<T> where T : class
{
    // ---- weights ----

    /// <summary>The weight <paramref name="name"/> as it is.</summary>
    /// <param name="name">Full name, as in the checkpoint.</param>
    /// <param name="init">What it starts from; the default is normal with standard deviation 0.02.</param>
    /// <param name="shape">Its shape; empty for a scalar.</param>
    T Parameter(Name name, Init init, params ReadOnlySpan<int> shape);

    /// <summary>x W^T + b with the weights <c>name.weight</c> [out, in] and <c>name.bias</c> [out].</summary>
    /// <param name="x">[.., inWidth].</param>
    /// <param name="name">The layer.</param>
    /// <param name="inWidth">Width of <paramref name="x"/>.</param>
    /// <param name="outWidth">Width of the result.</param>
    /// <param name="bias">False for a layer without <c>name.bias</c>.</param>
    /// <param name="init">Start of the matrix; the default is normal with standard deviation 1/sqrt(inWidth). The bias starts at
    /// 0.</param>
    /// <returns>[.., outWidth].</returns>
    T Linear(T x, Name name, int inWidth, int outWidth, bool bias = true, Init init = default);

    /// <summary>x W^T + b with the matrix and bias given, for weights that a checkpoint keeps packed.</summary>
    /// <param name="x">[.., in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[.., out].</returns>
    T Linear(T x, T weight, T? bias);

    /// <summary>Rows of the table <c>name.weight</c> [count, width].</summary>
    /// <param name="ids">Int64, any shape, 0 to count-1.</param>
    /// <param name="name">The layer.</param>
    /// <param name="count">Rows of the table.</param>
    /// <param name="width">Width of a row.</param>
    /// <param name="init">Start of the table; the default is normal with standard deviation 0.02.</param>
    /// <returns>[.., width].</returns>
    T Embedding(T ids, Name name, int count, int width, Init init = default);

    /// <summary>Rows of a table given as a tensor, for tables that a checkpoint names otherwise: the codebooks of a codec.</summary>
    /// <param name="ids">Int64, any shape, 0 to count-1.</param>
    /// <param name="table">[count, width].</param>
    /// <returns>[.., width].</returns>
    T Embedding(T ids, T table);

    /// <summary>Normalises the last axis to mean 0 and variance 1, times <c>name.weight</c>, plus <c>name.bias</c> (Ba et al.
    /// 2016, arXiv:1607.06450).</summary>
    T LayerNorm(T x, Name name, float epsilon);

    /// <summary>Normalises the last axis to mean 0 and variance 1, and no more.</summary>
    T LayerNorm(T x, float epsilon);

    /// <summary>Divides the last axis by its root mean square, times <c>name.weight</c> (Zhang and Sennrich 2019,
    /// arXiv:1910.07467).</summary>
    T RmsNorm(T x, Name name, float epsilon);

    /// <summary>Normalises groups of channels of [B, C, H, W], times <c>name.weight</c> [C], plus <c>name.bias</c> [C] (Wu and He
    /// 2018, arXiv:1803.08494).</summary>
    T GroupNorm(T x, Name name, int groups, float epsilon);

    /// <summary>2-D convolution with <c>name.weight</c> [out, in/groups, kernel, kernel] and <c>name.bias</c> [out].</summary>
    /// <param name="x">[B, in, H, W]; H and W are known sizes.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <returns>[B, out, H', W'].</returns>
    T Conv2d(T x, Name name, Conv2dConfig c);

    /// <summary>1-D convolution with the kernel given, so that it may be computed (weight normalisation).</summary>
    /// <param name="x">[B, in, T], T at least the width of the kernel less the padding.</param>
    /// <param name="weight">[out, in/groups, kernel].</param>
    /// <param name="bias">[out], or null.</param>
    /// <param name="c">Sizes.</param>
    /// <returns>[B, out, T'].</returns>
    T Conv1d(T x, T weight, T? bias, Conv1dConfig c);

    /// <summary>1-D transposed convolution: each step of <paramref name="x"/> spreads over a kernel, <paramref name="stride"/>
    /// steps apart.</summary>
    /// <param name="x">[B, in, T].</param>
    /// <param name="weight">[in, out, kernel].</param>
    /// <param name="bias">[out], or null.</param>
    /// <param name="stride">Steps between two kernels.</param>
    /// <returns>[B, out, (T - 1) stride + kernel].</returns>
    T ConvTranspose1d(T x, T weight, T? bias, int stride);

    /// <summary>Lengthens the last axis, T, at both ends: first to a multiple of <see cref="Padding1d.Multiple"/>, at its end.</summary>
    /// <param name="x">[B, C, T].</param>
    /// <param name="padding">How much, and with what.</param>
    /// <returns>[B, C, T'].</returns>
    T Pad(T x, Padding1d padding);

    /// <summary>Long short-term memory over the axis L (Hochreiter and Schmidhuber 1997), one layer after the other, from a state
    /// of zeros, with PyTorch's weights <c>name.weight_ih_l0</c> [4 width, in], <c>name.weight_hh_l0</c> [4 width, width],
    /// <c>name.bias_ih_l0</c>, <c>name.bias_hh_l0</c> [4 width]; gates in the order input, forget, cell, output.</summary>
    /// <param name="x">[B, L, in].</param>
    /// <param name="name">The layers.</param>
    /// <param name="inWidth">in.</param>
    /// <param name="width">Width of the states.</param>
    /// <param name="layers">Number of layers.</param>
    /// <returns>[B, L, width].</returns>
    T Lstm(T x, Name name, int inWidth, int width, int layers);

    // ---- attention ----

    /// <summary>softmax(q k^T / sqrt(hd) + mask) v (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).</summary>
    /// <param name="q">[B, nh, Lq, hd].</param>
    /// <param name="k">[B, nh, Lk, hd].</param>
    /// <param name="v">[B, nh, Lk, hd'].</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, nh, Lq, hd'].</returns>
    T Attention(T q, T k, T v, Mask<T> mask = default);

    /// <summary>The softmax of <see cref="Attention"/> itself: which key each query looks at.</summary>
    /// <returns>[B, nh, Lq, Lk], rows sum to 1.</returns>
    T AttentionWeights(T q, T k, Mask<T> mask = default);

    /// <summary>[B, L, D] -> [B, nh, L, hd].</summary>
    T SplitHeads(T x, int heads);

    /// <summary>[B, nh, L, hd] -> [B, L, D].</summary>
    T MergeHeads(T x);

    // ---- element by element ----

    /// <summary>Applies <paramref name="kind"/> to each element.</summary>
    T Activate(T x, Activation kind);

    /// <summary>a + b.</summary>
    T Add(T a, T b);

    /// <summary>x + c.</summary>
    T Add(T x, float c);

    /// <summary>a - b.</summary>
    T Subtract(T a, T b);

    /// <summary>a b, element by element.</summary>
    T Multiply(T a, T b);

    /// <summary>c x.</summary>
    T Multiply(T x, float c);

    /// <summary>a / b, element by element.</summary>
    T Divide(T a, T b);

    /// <summary>e to the power of x.</summary>
    T Exp(T x);

    /// <summary>x == value, for Int64 <paramref name="x"/>: Bool of the same shape.</summary>
    T Equal(T x, long value);

    /// <summary>True where <paramref name="x"/> (Bool) is false.</summary>
    T Not(T x);

    /// <summary><paramref name="a"/> where <paramref name="condition"/> (Bool) is true, else <paramref name="b"/>.</summary>
    T Where(T condition, T a, T b);

    // ---- over axes ----

    /// <summary>Matrix product of the last two axes, broadcast over those before: [.., n, k] x [.., k, m] -> [.., n,
    /// m].</summary>
    T MatMul(T a, T b);

    /// <summary>exp(x) / sum exp(x) over the axis.</summary>
    T Softmax(T x, int axis);

    /// <summary>Divides the last axis by its Euclidean length, which counts as 1e-12 at least.</summary>
    T L2Normalize(T x);

    /// <summary>Mean over one axis.</summary>
    T Mean(T x, int axis, bool keepDims = false);

    /// <summary>Sum over one axis.</summary>
    T Sum(T x, int axis, bool keepDims = false);

    /// <summary>Largest element over one axis, which disappears.</summary>
    T Max(T x, int axis);

    /// <summary>Sum of each element and all before it along the axis.</summary>
    T CumulativeSum(T x, int axis);

    /// <summary>Int64 position of the largest element along the axis, which disappears; the first of equals.</summary>
    T ArgMax(T x, int axis);

    // ---- shape ----

    /// <summary>Splits, permutes and merges axes by an einops pattern, for example <c>b c (h p) (w q) -> b (h w) (p q
    /// c)</c>.</summary>
    /// <param name="x">The tensor.</param>
    /// <param name="pattern">The pattern; every axis once on each side.</param>
    /// <param name="sizes">Sizes of split axes; one of each group may be left out.</param>
    T Rearrange(T x, string pattern, params ReadOnlySpan<(string Axis, int Size)> sizes);

    /// <summary>Joins tensors along an axis.</summary>
    T Concat(int axis, params ReadOnlySpan<T> parts);

    /// <summary>Elements start to end-1 along the axis; a negative <paramref name="end"/> counts from the end,
    /// <see cref="int.MaxValue"/> takes all.</summary>
    T Slice(T x, int axis, int start, int end);

    /// <summary>The first elements along the axis, as many as <paramref name="like"/> has along <paramref name="likeAxis"/>:
    /// position embeddings [Lmax, D] -> [L, D].</summary>
    T SliceLike(T x, int axis, T like, int likeAxis);

    /// <summary>[..] -> [B, ..]: repeats the tensor for each item of the batch of <paramref name="like"/>.</summary>
    T RepeatBatch(T x, T like);

    /// <summary>One token per item: [B, L, D] and Int64 [B] -> [B, D].</summary>
    T PickToken(T tokens, T index);

    /// <summary>Several tokens per item, in the order given: [B, L, D] and Int64 [B, K] -> [B, K, D].</summary>
    T PickTokens(T tokens, T index);

    // ---- routing ----

    /// <summary>True for the <paramref name="count"/> largest elements along the last axis, of equals the first: Bool of the same
    /// shape.</summary>
    /// <param name="x">[.., E], finite numbers.</param>
    /// <param name="count">1 to E.</param>
    T Largest(T x, int count);

    /// <summary>The tokens that are kept, one after the other: [B, L, D] -> [n, D]; n may be 0.</summary>
    /// <param name="x">[B, L, D].</param>
    /// <param name="keep">Bool [B, L].</param>
    /// <param name="share">The part of the tokens that is kept on average, which the summary counts with.</param>
    T TakeTokens(T x, T keep, double share);

    /// <summary>Puts tokens back where <see cref="TakeTokens"/> took them, and zeros elsewhere: [n, D] -> [B, L, D].</summary>
    /// <param name="rows">[n, D].</param>
    /// <param name="keep">Bool [B, L], true n times.</param>
    T PutTokens(T rows, T keep);

    // ---- training ----

    /// <summary>While an engine trains with patch dropout, keeps a random part of the tokens after the first
    /// <paramref name="prefixTokens"/>
    /// (Li et al. 2022, FLIP, arXiv:2212.00794); everywhere else the tokens as they are.</summary>
    /// <returns>[B, L, D] -> [B, L' at most L, D].</returns>
    T PatchDropout(T tokens, int prefixTokens);
}

/// <summary>Sizes of a 2-D convolution with square kernels.</summary>
/// <param name="In">Input channels.</param>
/// <param name="Out">Output channels.</param>
/// <param name="Kernel">Kernel edge in pixels.</param>
/// <param name="Stride">Step in pixels.</param>
/// <param name="Padding">Zeros added at each edge, in pixels.</param>
/// <param name="Groups">Groups of channels that see only each other; divides both channel counts.</param>
/// <param name="Bias">False for a layer without bias.</param>
/// <param name="Init">Start of the kernel; the default is normal with standard deviation 1/sqrt(fan-in).</param>
public sealed record Conv2dConfig(int In, int Out, int Kernel, int Stride = 1, int Padding = 0, int Groups = 1, bool Bias = true, Init Init = default)
{
    /// <summary>Edge of the result for an input of <paramref name="size"/> pixels.</summary>
    public int OutSize(int size) => (size + 2 * Padding - Kernel) / Stride + 1;
}

/// <summary>Sizes of a 1-D convolution.</summary>
/// <param name="In">Input channels.</param>
/// <param name="Out">Output channels.</param>
/// <param name="Kernel">Steps that one output sees, before dilation.</param>
/// <param name="Stride">Steps between two outputs.</param>
/// <param name="Dilation">Steps between two steps of the kernel.</param>
/// <param name="Groups">Groups of channels that see only each other; divides both channel counts.</param>
/// <param name="Padding">Zeros added at both ends.</param>
public sealed record Conv1dConfig(int In, int Out, int Kernel, int Stride = 1, int Dilation = 1, int Groups = 1, int Padding = 0)
{
    /// <summary>Steps that one output sees.</summary>
    public int Reach => (Kernel - 1) * Dilation + 1;

    /// <summary>Length of the result for <paramref name="length"/> steps.</summary>
    public int OutSize(int length) => (length + 2 * Padding - Reach) / Stride + 1;
}

/// <summary>Padding of a 1-D signal.</summary>
/// <param name="Before">Steps added before it, at least 0.</param>
/// <param name="After">Steps added after it, at least 0, beyond those that fill it up to a multiple.</param>
/// <param name="Multiple">The signal is first filled up to a multiple of this length; 1 adds nothing.</param>
/// <param name="Reflects">True: the steps added are the signal's mirror image at its ends, the outermost step not repeated; a
/// signal too short for that counts as followed by zeros. False: zeros.</param>
public readonly record struct Padding1d(int Before, int After, int Multiple = 1, bool Reflects = false)
{
    /// <summary>Steps added after a signal of <paramref name="length"/> steps.</summary>
    public long AfterOf(long length) => After + (Multiple - length % Multiple) % Multiple;
}
