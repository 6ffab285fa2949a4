using Microsoft.ML;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Videos of a batch and what is made of them.</summary>
/// <param name="rows">The most rows.</param>
/// <param name="width">E.</param>
sealed class VideoEmbedPart(int rows, int width) : EmbedPart(rows, width)
{
    public VideoPart Videos { get; } = new(rows);

    public Exception?[] Errors { get; } = new Exception?[rows];

    /// <summary>[B], for each [T, 3, H, W] and T.</summary>
    public (ReadOnlyMemory<float> Pixels, int Frames)[] Inputs { get; } = new (ReadOnlyMemory<float>, int)[rows];

    /// <summary>[B, E].</summary>
    public float[] Embeds { get; } = new float[rows * width];

    public override Exception? Error(int slot) => Errors[slot];

    protected override ReadOnlySpan<float> Values(int slot) => Embeds.AsSpan(slot * Width, Width);
}

/// <summary>From a column of videos to embeddings: frames are decoded and preprocessed on any thread, and the mean of what the
/// image tower makes of them stands for the video.</summary>
sealed class VideoInput(MultimodalModel model, VideoColumn column) : EmbedInput
{
    public override DataViewSchema.Column Find(DataViewSchema schema) => column.Find(schema);

    public override EmbedPart NewPart(int rows) => new VideoEmbedPart(rows, model.EmbeddingWidth);

    public override Action<EmbedPart, int> Reader(DataViewRow input)
    {
        Action<VideoPart, int> read = column.Reader(input);
        return (part, slot) => read(((VideoEmbedPart)part).Videos, slot);
    }

    public override void Prepare(EmbedPart videos, int slot, long row)
    {
        var part = (VideoEmbedPart)videos;
        (part.Errors[slot], part.Inputs[slot]) = (null, default);
        try
        {
            part.Inputs[slot] = Decode(part.Videos, slot);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            part.Errors[slot] = column.Unreadable(part.Videos, slot, row, e);
        }
    }

    public override void Run(EmbedPart videos, int count)
    {
        var part = (VideoEmbedPart)videos;
        for (int slot = 0; slot < count; slot++)
        {
            if (part.Errors[slot] is not null) continue;
            (ReadOnlyMemory<float> pixels, int frames) = part.Inputs[slot];
            model.EmbedFramePixels(pixels, frames, part.Embeds.AsSpan(slot * part.Width, part.Width));
            part.Inputs[slot] = default;
        }
    }

    (ReadOnlyMemory<float>, int) Decode(VideoPart part, int slot)
    {
        if (VideoColumn.Frames(part, slot) is { } given) return (model.FramePixels(given, out int few), few);
        return column.Open(part, slot, (decoder, path) =>
            (model.FramePixels(model.Videos.Frames(path, decoder), out int frames), frames));
    }
}
