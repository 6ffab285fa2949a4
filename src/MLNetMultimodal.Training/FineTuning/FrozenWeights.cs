using System.IO.Enumeration;
using MLNetMultimodal.Models.Ops;
using Parameter = TorchSharp.Modules.Parameter;

namespace MLNetMultimodal.Training;

/// <summary>Weights that a training leaves as they are, by name.</summary>
static class FrozenWeights
{
    /// <summary>The weights that a program asks for, but for those that are frozen; takes the gradients from all others.</summary>
    /// <param name="model">All weights.</param>
    /// <param name="program">What is trained of them.</param>
    /// <param name="frozen">Names; <c>*</c> stands for any part.</param>
    /// <exception cref="ArgumentException">A name means none of the program's weights, or nothing is left to train.</exception>
    public static IReadOnlyList<NamedParameter> Others(TorchModel model, IProgram program, IReadOnlyList<string> frozen)
    {
        IReadOnlyList<ParameterSpec> asked = ModelSummary.Of(program).Parameters;
        if (frozen.FirstOrDefault(pattern => !asked.Any(s => Means(pattern, s.Name))) is { } unknown)
            throw new ArgumentException($"Frozen has '{unknown}', which means none of the weights; they are {string.Join(", ", asked.Select(s => s.Name))}.");
        foreach (Parameter weight in model.Parameters.Values) weight.requires_grad = false;
        var trained = new List<NamedParameter>();
        foreach (ParameterSpec spec in asked.Where(s => !frozen.Any(pattern => Means(pattern, s.Name))))
        {
            model.Parameters[spec.Name].requires_grad = true;
            trained.Add(new(spec.Name, model.Parameters[spec.Name], spec.Decays));
        }
        return trained.Count > 0 ? trained : throw new ArgumentException($"Frozen leaves nothing to train: {string.Join(", ", frozen)}.");
    }

    static bool Means(string pattern, string name) => FileSystemName.MatchesSimpleExpression(pattern, name, ignoreCase: false);
}
