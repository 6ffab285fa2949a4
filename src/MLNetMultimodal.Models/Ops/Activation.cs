namespace MLNetMultimodal.Models.Ops;

/// <summary>Element-wise non-linear functions, under the names that published configs use.</summary>
public enum Activation
{
    /// <summary>x Phi(x), exact by erf (Hendrycks and Gimpel 2016, arXiv:1606.08415). Config name <c>gelu</c>.</summary>
    Gelu,

    /// <summary>The tanh approximation of GELU. Config names <c>gelu_new</c>, <c>gelu_pytorch_tanh</c>.</summary>
    GeluTanh,

    /// <summary>x sigmoid(1.702 x), as OpenAI's CLIP was trained. Config name <c>quick_gelu</c>.</summary>
    QuickGelu,

    /// <summary>max(x, 0). Config name <c>relu</c>.</summary>
    Relu,

    /// <summary>x sigmoid(x). Config names <c>silu</c>, <c>swish</c>.</summary>
    Silu,

    /// <summary>Hyperbolic tangent. Config name <c>tanh</c>.</summary>
    Tanh,

    /// <summary>1 / (1 + exp(-x)). Config name <c>sigmoid</c>.</summary>
    Sigmoid,

    /// <summary>x where it is positive, else exp(x) - 1 (Clevert et al. 2015, arXiv:1511.07289). Config name <c>elu</c>.</summary>
    Elu,
}

/// <summary>Config names of <see cref="Activation"/>.</summary>
public static class ActivationNames
{
    static readonly (string Name, Activation Value)[] Names =
    [
        ("gelu", Activation.Gelu), ("gelu_pytorch_tanh", Activation.GeluTanh), ("gelu_new", Activation.GeluTanh),
        ("quick_gelu", Activation.QuickGelu), ("relu", Activation.Relu), ("silu", Activation.Silu), ("swish", Activation.Silu),
        ("tanh", Activation.Tanh), ("sigmoid", Activation.Sigmoid), ("elu", Activation.Elu),
    ];

    /// <summary>The function that a config calls <paramref name="name"/>.</summary>
    /// <exception cref="InvalidDataException">The name is unknown; the message lists those known.</exception>
    public static Activation Parse(string name)
    {
        foreach (var entry in Names)
            if (entry.Name == name) return entry.Value;
        throw new InvalidDataException($"hidden_act '{name}' is unknown; known: {string.Join(", ", Names.Select(e => e.Name))}.");
    }

    /// <summary>The config name of <paramref name="value"/>.</summary>
    public static string ConfigName(this Activation value) => Array.Find(Names, e => e.Value == value).Name;
}
