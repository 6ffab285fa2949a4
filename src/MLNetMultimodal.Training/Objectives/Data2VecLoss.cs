using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>How a target of data2vec is normalised.</summary>
public enum TargetNorm
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>Each place over its features, to mean 0 and variance 1: pictures and texts.</summary>
    Layer,

    /// <summary>Each feature of an item over all places, hidden or not: sounds.</summary>
    Instance,
}

/// <summary>The objective of data2vec, one for all senses (Baevski et al. 2022, arXiv:2202.03555, sections 3.3 and 3.4).</summary>
public sealed record Data2VecLoss
{
    const double Epsilon = 1e-5;

    /// <summary>How many of the teacher's last blocks are averaged, at least 1; more than there are counts as all. Default 6.</summary>
    public int TopLayers
    {
        get;
        init => field = value >= 1 ? value : throw new ArgumentOutOfRangeException(nameof(TopLayers), value, "TopLayers must be at least 1.");
    } = 6;

    /// <summary>How each block's output is normalised before they are averaged.</summary>
    public TargetNorm LayerNorm { get; init; } = TargetNorm.Layer;

    /// <summary>How the average is normalised.</summary>
    public TargetNorm AverageNorm { get; init; } = TargetNorm.None;

    /// <summary>Where the smooth L1 loss turns from squared to absolute error; 0 takes the squared error everywhere. At least
    /// 0.</summary>
    public double Beta
    {
        get;
        init => field = value >= 0 && double.IsFinite(value) ? value : throw new ArgumentOutOfRangeException(nameof(Beta), value, "Beta must be a finite number of at least 0.");
    }

    /// <summary>What the loss is multiplied with; null for 1 / sqrt(D).</summary>
    public double? Scale { get; init; }

    /// <summary>For pictures: beta 2, both norms over features.</summary>
    public static Data2VecLoss Pictures { get; } = new() { Beta = 2, AverageNorm = TargetNorm.Layer };

    /// <summary>For pictures of which the student is given a part only: squared error, each block over the patches of a picture, the
    /// average over features (data2vec 2.0: Baevski et al. 2022, arXiv:2212.07525). What is the same at all patches is no target
    /// here, while the norms of <see cref="Pictures"/> let a teacher that gives one vector everywhere pass.</summary>
    public static Data2VecLoss SparsePictures { get; } = new() { LayerNorm = TargetNorm.Instance, AverageNorm = TargetNorm.Layer };

    /// <summary>For texts: beta 4, not scaled, the last 10 blocks.</summary>
    public static Data2VecLoss Texts { get; } = new() { Beta = 4, Scale = 1, TopLayers = 10 };

    /// <summary>For speech: squared error, norms over time, the last 8 blocks.</summary>
    public static Data2VecLoss Sounds { get; } = new() { LayerNorm = TargetNorm.Instance, TopLayers = 8 };

    /// <summary>What the student is to predict; it has no gradient.</summary>
    /// <param name="layers">What the teacher's blocks give, first to last, [B, L, D] each.</param>
    /// <returns>[B, L, D].</returns>
    public Tensor Target(IReadOnlyList<Tensor> layers)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        Tensor[] top = [.. layers.TakeLast(TopLayers).Select(l => Normalized(l, LayerNorm))];
        return Normalized(stack(top).mean([0]), AverageNorm).MoveToOuterDisposeScope();
    }

    /// <summary>The regression: summed over features, over hidden places only.</summary>
    /// <param name="predictions">The student's, [B, L, D].</param>
    /// <param name="target">[B, L, D].</param>
    /// <param name="masked">Bool [B, L]: true for a place that was hidden from the student.</param>
    /// <returns>The sum over hidden places, a scalar; and their number.</returns>
    public (Tensor Sum, long Places) Loss(Tensor predictions, Tensor target, Tensor masked)
    {
        using DisposeScope scope = NewDisposeScope();
        long width = predictions.shape[^1];
        Tensor hidden = masked.flatten().nonzero().squeeze(1);                                          // [M]
        Tensor student = predictions.reshape(-1, width).index_select(0, hidden), teacher = target.reshape(-1, width).index_select(0, hidden);
        Tensor error = Beta == 0 ? (student - teacher).Squared().sum() : F.smooth_l1_loss(student, teacher, nn.Reduction.Sum, Beta);
        return (error.Times(Scale ?? 1 / Math.Sqrt(width)).MoveToOuterDisposeScope(), hidden.shape[0]);
    }

    static Tensor Normalized(Tensor x, TargetNorm norm) => norm switch
    {
        TargetNorm.Layer => F.layer_norm(x, [x.shape[^1]], null, null, Epsilon),
        TargetNorm.Instance => (x - x.mean([1], keepdim: true)) / x.var(1, unbiased: false, keepdim: true).Plus(Epsilon).sqrt(),
        _ => x,
    };
}
