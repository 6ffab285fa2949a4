namespace MLNetMultimodal.Inference.Onnx;

/// <summary>Who is to run a recorded graph.</summary>
enum GraphTarget
{
    /// <summary>Any ONNX runtime: standard operators wherever they do, weights in the graph.</summary>
    Portable,

    /// <summary>ONNX Runtime in this process: what it runs fastest, weights from where they lie.</summary>
    Fastest,
}
