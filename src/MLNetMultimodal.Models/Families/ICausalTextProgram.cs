using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A text encoder whose tokens see only those before them: what texts of a batch begin with alike can be computed
/// once.</summary>
public interface ICausalTextProgram : IProgram
{
    /// <summary>Names of the inputs that <see cref="SharingPrefixes"/> takes behind the token ids.</summary>
    const string FirstInput = "prefix_first", OfInput = "prefix_of";

    /// <summary>n, the number of distinct beginnings in a batch.</summary>
    static Dim PrefixCount { get; } = Dim.Dynamic("prefixes");

    /// <summary>The same encoder, which is told what the texts share: token ids [B, L], and <see cref="SharedPrefixes{T}.First"/> and
    /// <see cref="SharedPrefixes{T}.Of"/> as inputs.</summary>
    IProgram SharingPrefixes { get; }

    /// <summary>The place of the token that is pooled; none after it counts.</summary>
    /// <param name="ids">One text, at least one token.</param>
    int PooledToken(ReadOnlySpan<long> ids);
}
