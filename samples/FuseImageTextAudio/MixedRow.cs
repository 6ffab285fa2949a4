using Microsoft.ML.Data;

namespace FuseImageTextAudio;

/// <summary>A garment: its picture, a note about it, and its class number spoken over noise.</summary>
sealed class MixedRow
{
    /// <summary>A PNG file; empty where it is missing.</summary>
    [VectorType]
    public byte[] Image { get; set; } = [];

    /// <summary>Empty where it is missing.</summary>
    public string Text { get; set; } = "";

    /// <summary>Samples at 8 kHz; empty where they are missing.</summary>
    [VectorType]
    public float[] Audio { get; set; } = [];

    public string LabelText { get; set; } = "";
}
