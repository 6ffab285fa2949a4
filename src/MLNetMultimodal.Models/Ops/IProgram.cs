namespace MLNetMultimodal.Models.Ops;

/// <summary>A forward computation that any engine can interpret: named inputs to named outputs.</summary>
public interface IProgram
{
    /// <summary>File name of the recorded graph, without extension, in the layout of the hub: <c>model</c>, <c>vision_model</c>,
    /// <c>text_model</c>.</summary>
    string Name { get; }

    /// <summary>What it takes.</summary>
    IReadOnlyList<TensorSpec> Inputs { get; }

    /// <summary>Interprets the program.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="inputs">One tensor per input, by name.</param>
    /// <returns>The outputs, in a fixed order.</returns>
    IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class;
}
