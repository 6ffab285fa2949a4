namespace MLNetMultimodal.Inference.Onnx;

/// <summary>How the weights of a graph are stored. Inputs and outputs are 32-bit floats with each. The names are those of
/// Transformers.js, which finds the files by their suffixes; they stand in the order of preference.
/// <see cref="OnnxExport.Dtypes"/> are written here, the others are read from published folders.</summary>
public enum OnnxDtype
{
    /// <summary>32-bit floats; <c>model.onnx</c>.</summary>
    Fp32,

    /// <summary>Stored as 16-bit floats and cast to 32 bits when a session is opened: half the file, the speed of 32 bits;
    /// <c>model_fp16.onnx</c>.</summary>
    Fp16,

    /// <summary>Dynamic quantisation: the weights of linear layers are signed 8-bit integers with one scale per output, their
    /// inputs become unsigned 8-bit integers as they come (<c>DynamicQuantizeLinear</c>, <c>MatMulInteger</c>); embeddings and
    /// convolutions stay as they are. In graphs for export, and where this processor lacks VNNI, the weights take 7 of the 8 bits (-63 to
    /// 63), so that products are added without overflow. <c>model_quantized.onnx</c>.</summary>
    Q8,

    /// <summary>The same graph as <see cref="Q8"/>; <c>model_int8.onnx</c>.</summary>
    Int8,

    /// <summary>Dynamic quantisation with unsigned 8-bit integers; <c>model_uint8.onnx</c>.</summary>
    Uint8,

    /// <summary>4-bit integers in blocks with a scale each (<c>MatMulNBits</c>); <c>model_q4.onnx</c>.</summary>
    Q4,

    /// <summary><see cref="Q4"/>, and 16-bit floats for the rest; <c>model_q4f16.onnx</c>.</summary>
    Q4F16,

    /// <summary>4-bit floats in blocks (<c>MatMulBnb4</c>: Dettmers et al. 2023, arXiv:2305.14314);
    /// <c>model_bnb4.onnx</c>.</summary>
    Bnb4,

    /// <summary>8-bit integers in blocks with a scale each (<c>MatMulNBits</c>): nearer to 32-bit floats than <see cref="Int8"/>, and slower on
    /// batches; <c>model_q8blocks.onnx</c>, which Transformers.js has no name for.</summary>
    Q8Blocks,
}
