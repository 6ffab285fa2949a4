using System.Globalization;

namespace MLNetMultimodal.Models.Ops;

/// <summary>The name of a weight or of a group of weights, built with <c>/</c>: <c>name / "self_attn" / "q_proj"</c> is
/// <c>self_attn.q_proj</c>.
/// Names are those of the published checkpoint, so that loading is a lookup.</summary>
/// <param name="Path">Parts joined by dots; empty for the root.</param>
public readonly record struct Name(string Path)
{
    /// <summary>The root, under which a whole model stands.</summary>
    public static Name Root => new("");

    /// <summary>A name from its dotted path.</summary>
    public static implicit operator Name(string path) => new(path);

    /// <summary>The part <paramref name="part"/> of <paramref name="name"/>.</summary>
    public static Name operator /(Name name, string part) => new(string.IsNullOrEmpty(name.Path) ? part : $"{name.Path}.{part}");

    /// <summary>The item <paramref name="index"/> of the list <paramref name="name"/>.</summary>
    public static Name operator /(Name name, int index) => name / index.ToString(CultureInfo.InvariantCulture);

    /// <summary>The dotted path.</summary>
    public override string ToString() => Path ?? "";
}
