using Microsoft.ML;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>The one column that a training without labels reads.</summary>
static class PretrainingColumns
{
    /// <summary>Checks it.</summary>
    /// <param name="schema">The columns there are.</param>
    /// <param name="image">Column of pictures, or null.</param>
    /// <param name="text">Column of texts, or null.</param>
    /// <param name="audio">Column of sounds, or null.</param>
    /// <exception cref="ArgumentException">Not just one is named, or it is missing or of the wrong type; the message lists the
    /// columns.</exception>
    public static void Check(SchemaShape schema, string? image, string? text, string? audio)
    {
        string[] named = [.. new[] { image, text, audio }.OfType<string>()];
        if (named.Length != 1)
            throw new ArgumentException($"just one column of pictures, texts or sounds is trained on, but {(named.Length == 0 ? "none is" : $"{string.Join(", ", named)} are")} named.");
        Columns.CheckImages(schema, image);
        Columns.CheckTexts(schema, text);
        if (audio is not null) new SoundColumn(audio, null, null).Check(schema);
    }
}
