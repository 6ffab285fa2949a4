namespace MLNetMultimodal.Inference.Onnx;

/// <summary>How the weights of an exported graph are stored. Inputs and outputs are 32-bit floats with each. The names are those
/// of Transformers.js, which finds the files by their suffixes.</summary>
public enum OnnxDtype
{
    /// <summary>32-bit floats; <c>model.onnx</c>.</summary>
    Fp32,

    /// <summary>Stored as 16-bit floats and cast to 32 bits when a session is opened: half the file, the speed of 32 bits;
    /// <c>model_fp16.onnx</c>.</summary>
    Fp16,

    /// <summary>Dynamic quantisation: the weights of linear layers are signed 8-bit integers with one scale per output, their
    /// inputs become unsigned 8-bit integers as they come (<c>DynamicQuantizeLinear</c>, <c>MatMulInteger</c>); embeddings and
    /// convolutions stay as they are. <c>model_quantized.onnx</c>.</summary>
    Q8,

    /// <summary>The same graph as <see cref="Q8"/>; <c>model_int8.onnx</c>.</summary>
    Int8,
}
