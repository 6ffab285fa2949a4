using Microsoft.ML;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Sounds of a batch and what is made of them.</summary>
/// <param name="rows">The most rows.</param>
/// <param name="width">E.</param>
sealed class AudioPart(int rows, int width) : EmbedPart(rows, width)
{
    public SoundPart Sounds { get; } = new(rows);

    public Exception?[] Errors { get; } = new Exception?[rows];

    /// <summary>[B], for each the values that the tower takes; null where they could not be made.</summary>
    public float[]?[] Inputs { get; } = new float[]?[rows];

    /// <summary>[B][E].</summary>
    public float[][] Embeds { get; } = new float[rows][];

    public override Exception? Error(int slot) => Errors[slot];

    protected override ReadOnlySpan<float> Values(int slot) => Embeds[slot];
}

/// <summary>From a column of sounds to embeddings: decoding and preprocessing on any thread, then the audio tower for sounds of
/// one length together.</summary>
sealed class AudioInput(MultimodalModel model, SoundColumn column) : EmbedInput
{
    readonly Media.Audio.AudioPreprocessing _sounds = model.Sounds;

    public override DataViewSchema.Column Find(DataViewSchema schema) => column.Find(schema);

    public override EmbedPart NewPart(int rows) => new AudioPart(rows, model.EmbeddingWidth);

    public override Action<EmbedPart, int> Reader(DataViewRow input)
    {
        Action<SoundPart, int> read = column.Reader(input);
        return (part, slot) => read(((AudioPart)part).Sounds, slot);
    }

    public override void Prepare(EmbedPart sounds, int slot, long row)
    {
        var part = (AudioPart)sounds;
        (part.Errors[slot], part.Inputs[slot]) = (null, null);
        try
        {
            part.Inputs[slot] = _sounds.Apply(column.Decode(part.Sounds, slot, _sounds));
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            part.Errors[slot] = column.Unreadable(part.Sounds, slot, row, e);
        }
    }

    public override void Run(EmbedPart sounds, int count)
    {
        var part = (AudioPart)sounds;
        int[] readable = [.. Enumerable.Range(0, count).Where(slot => part.Errors[slot] is null)];
        float[][] embeds = model.EmbedAudioValues([.. readable.Select(slot => part.Inputs[slot]!)]);
        for (int i = 0; i < readable.Length; i++) (part.Embeds[readable[i]], part.Inputs[readable[i]]) = (embeds[i], null);
    }
}
