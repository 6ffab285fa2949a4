using System.Text;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Training;

/// <summary>How the two senses of a model are prepared; null for one that it is not trained on.</summary>
sealed record PairSenses(ImagePreprocessing? Images, AudioPreprocessing? Sounds, TextTokenizer? Texts)
{
    /// <summary>The files that say so in a model folder.</summary>
    public IReadOnlyList<(string Name, ReadOnlyMemory<byte> Content)> Files =>
    [
        .. (Texts?.Files ?? new Dictionary<string, ReadOnlyMemory<byte>>()).Select(f => (f.Key, f.Value)),
        .. Preprocessing.Select(f => (f.Name, (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(f.Content))),
    ];

    IReadOnlyList<(string Name, string Content)> Preprocessing => (Images, Sounds) switch
    {
        ({ } images, null) => [("preprocessor_config.json", images.ToJson())],
        (null, { } sounds) => [("preprocessor_config.json", sounds.ToJson())],
        ({ } images, { } sounds) => // as transformers 5 keeps two
            [("preprocessor_config.json", images.ToJson()), ("processor_config.json", $$"""{ "feature_extractor": {{sounds.ToJson()}} }""")],
        _ => [],
    };

    /// <summary>Checks that what is made of items is what the model takes.</summary>
    /// <exception cref="InvalidDataException">It is not.</exception>
    public void Check(IModelDefinition definition, string folder)
    {
        if (Images is { } images) Check(Modality.Image, "pictures", images.Width, images.Height);
        if (Sounds?.Spectrogram is { } sounds)
            Check(Modality.Audio, "spectrograms", sounds.BinsFirst ? sounds.Frames : sounds.LogMel.MelBins, sounds.BinsFirst ? sounds.LogMel.MelBins : sounds.Frames);

        void Check(Modality modality, string what, int width, int height)
        {
            Dim[] shape = definition.Encoders[modality].Inputs[0].Shape;
            if (shape.Length < 3 || shape[^1].Size != width || shape[^2].Size != height)
                throw new InvalidDataException($"preprocessor_config.json of '{folder}' makes {what} of {width}x{height}, "
                    + $"but its config.json wants {string.Join("x", shape.Reverse().Take(2).Select(d => d.Size))}.");
        }
    }
}
