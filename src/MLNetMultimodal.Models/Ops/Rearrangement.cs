namespace MLNetMultimodal.Models.Ops;

/// <summary>A parsed pattern such as <c>b c (h p) (w q) -> b (h w) (p q c)</c> (Rogozhnikov 2022, einops): split axes, permute
/// them, merge them.</summary>
public sealed class Rearrangement
{
    readonly string _pattern;
    readonly string[][] _left;
    readonly string[][] _right;

    Rearrangement(string pattern, string[][] left, string[][] right) => (_pattern, _left, _right) = (pattern, left, right);

    /// <summary>How many axes stand in each group on the left; a group is a dimension of the tensor before.</summary>
    public IReadOnlyList<int> LeftGroups => [.. _left.Select(g => g.Length)];

    /// <summary>How many axes stand in each group on the right; a group is a dimension of the tensor after.</summary>
    public IReadOnlyList<int> RightGroups => [.. _right.Select(g => g.Length)];

    /// <summary>Parses a pattern.</summary>
    /// <exception cref="ArgumentException">No arrow, unbalanced parentheses, an axis twice on a side or missing on the
    /// other.</exception>
    public static Rearrangement Parse(string pattern)
    {
        string[] sides = pattern.Split("->");
        if (sides.Length != 2) throw new ArgumentException($"'{pattern}' must have one '->', as in 'b c h w -> b (h w) c'.", nameof(pattern));
        string[][] left = ParseSide(pattern, sides[0]), right = ParseSide(pattern, sides[1]);
        string[] a = [.. left.SelectMany(g => g)], b = [.. right.SelectMany(g => g)];
        if (a.Distinct().Count() != a.Length || b.Distinct().Count() != b.Length || !a.ToHashSet().SetEquals(b))
            throw new ArgumentException($"'{pattern}' must name every axis once on each side.", nameof(pattern));
        return new(pattern, left, right);
    }

    static string[][] ParseSide(string pattern, string side)
    {
        var groups = new List<string[]>();
        List<string>? open = null;
        foreach (string token in side.Replace("(", " ( ", StringComparison.Ordinal).Replace(")", " ) ", StringComparison.Ordinal)
                                     .Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (token == "(" && open is null) open = [];
            else if (token == ")" && open is not null) { groups.Add([.. open]); open = null; }
            else if (token is "(" or ")") throw new ArgumentException($"'{pattern}' has unbalanced parentheses.", nameof(pattern));
            else if (open is not null) open.Add(token);
            else groups.Add([token]);
        }
        return open is null ? [.. groups] : throw new ArgumentException($"'{pattern}' has unbalanced parentheses.", nameof(pattern));
    }

    /// <summary>What to do with a tensor of shape <paramref name="shape"/>: reshape to <c>Split</c>, permute by <c>Order</c>,
    /// reshape to <c>Merged</c>.</summary>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="sizes">Sizes of axes inside parentheses; one axis of each group may be left out where the group's size is
    /// known.</param>
    /// <exception cref="ArgumentException">The shape does not fit the pattern.</exception>
    public (Dim[] Split, int[] Order, Dim[] Merged) Apply(ReadOnlySpan<Dim> shape, params ReadOnlySpan<(string Axis, int Size)> sizes)
    {
        if (shape.Length != _left.Length)
            throw new ArgumentException($"'{_pattern}' wants {_left.Length} dimensions, but the tensor is [{string.Join(", ", shape.ToArray())}].");
        var known = new Dictionary<string, Dim>();
        foreach (var (axis, size) in sizes) known[axis] = size;
        for (int i = 0; i < _left.Length; i++) SplitGroup(_left[i], shape[i], known);

        string[] from = [.. _left.SelectMany(g => g)], to = [.. _right.SelectMany(g => g)];
        return ([.. from.Select(a => known[a])],
                [.. to.Select(a => Array.IndexOf(from, a))],
                [.. _right.Select(g => g.Aggregate((Dim)1, (product, a) => product * known[a]))]);
    }

    void SplitGroup(string[] group, Dim size, Dictionary<string, Dim> known)
    {
        if (group.Length == 1)
        {
            if (known.TryGetValue(group[0], out Dim given) && size.IsKnown && given.Size != size.Size)
                throw new ArgumentException($"'{_pattern}': axis {group[0]} is {size}, not {given}.");
            known[group[0]] = size;
            return;
        }
        string[] open = [.. group.Where(a => !known.ContainsKey(a))];
        int product = group.Where(known.ContainsKey).Aggregate(1, (p, a) => p * known[a].Size);
        if (open.Length > 1) throw new ArgumentException($"'{_pattern}': give the size of {string.Join(" or ", open)}.");
        if (size.Size % product != 0 || (open.Length == 0 && size.IsKnown && product != size.Size))
            throw new ArgumentException($"'{_pattern}': {size} cannot be split into ({string.Join(' ', group)}), whose given sizes multiply to {product}.");
        if (open.Length == 1)
            known[open[0]] = size.IsKnown ? size.Size / product : Dim.Dynamic($"{size}/{product}", size.Size / product);
    }
}
