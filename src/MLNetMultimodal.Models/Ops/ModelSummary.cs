using System.Globalization;
using System.Text;

namespace MLNetMultimodal.Models.Ops;

/// <summary>What a program costs for one item of each batch, with dynamic lengths at their typical size.</summary>
/// <param name="Program">Its name.</param>
/// <param name="Parameters">Its weights, in the order of use.</param>
/// <param name="Flops">Floating-point operations of one forward pass; a product [n, k] x [k, m] counts 2nkm.</param>
/// <param name="Activations">Elements of all intermediate results.</param>
/// <param name="Layers">Layers with weights: name, operation, shape of the result, floating-point operations.</param>
public sealed record ModelSummary(string Program, IReadOnlyList<ParameterSpec> Parameters, long Flops, long Activations,
    IReadOnlyList<(string Layer, string Operation, string Shape, long Flops)> Layers)
{
    /// <summary>Number of trainable values.</summary>
    public long ParameterCount => Parameters.Sum(p => p.Count);

    /// <summary>Counts a program.</summary>
    /// <exception cref="ArgumentException">Its shapes do not fit together; the message names the layer.</exception>
    public static ModelSummary Of(IProgram program)
    {
        var ops = new SummaryOps();
        program.Run(ops, program.Inputs.ToDictionary(i => i.Name, i => new ShapeOnly(i.Shape)));
        return new(program.Name, ops.Parameters, ops.Flops, ops.Activations, ops.Layers);
    }

    /// <summary>A table for people.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        var culture = CultureInfo.InvariantCulture;
        var parameters = Parameters.ToLookup(p => p.Name[..Math.Max(0, p.Name.LastIndexOf('.'))]);
        text.AppendLine(culture, $"{Program}");
        text.AppendLine(culture, $"{"layer",-60} {"operation",-10} {"result",-28} {"parameters",14} {"MFLOP",12}");
        foreach (var (layer, operation, shape, flops) in Layers)
            text.AppendLine(culture, $"{layer,-60} {operation,-10} {shape,-28} {parameters[layer].Sum(p => p.Count),14:n0} {flops / 1e6,12:n2}");
        text.AppendLine(culture, $"parameters {ParameterCount:n0} ({ParameterCount * 4 / 1e6:n1} MB as F32), {Flops / 1e9:n3} GFLOP, activations {Activations * 4 / 1e6:n1} MB per item");
        return text.ToString();
    }
}
