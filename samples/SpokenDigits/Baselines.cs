using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;

namespace SpokenDigits;

/// <summary>Features that nobody trained for the digits, with ML.NET's own linear trainer.</summary>
static class Baselines
{
    const int Windows = 4, Codebooks = 4;

    /// <summary>The spectrogram that the model hears too.</summary>
    /// <returns>Share of the test rows that are classified right.</returns>
    public static double LogMel(MLContext ml, IDataView train, IDataView test, SpectrogramPreprocessing spectrogram) =>
        Accuracy(ml, train, test, ml.Transforms.ExtractSpectrogram(new() { Audio = "AudioPath", Spectrogram = spectrogram, Output = "Features" }));

    /// <summary>How often each code of a neural codec stands in each quarter of a sound.</summary>
    /// <param name="ml">The context.</param>
    /// <param name="train">Recordings to learn from.</param>
    /// <param name="test">Recordings to tell.</param>
    /// <param name="folder">A codec, a model folder of the family encodec.</param>
    /// <returns>Share of the test rows that are classified right.</returns>
    public static double Tokens(MLContext ml, IDataView train, IDataView test, string folder)
    {
        using AudioCodec codec = AudioCodec.Load(folder);
        int used = Math.Min(Codebooks, codec.CodebooksFor(null)), all = codec.CodebooksFor(null), size = codec.Config.CodebookSize;
        SchemaDefinition counted = SchemaDefinition.Create(typeof(Counted));
        SchemaDefinition coded = SchemaDefinition.Create(typeof(Coded));
        coded["Codes"].ColumnType = new VectorDataViewType(new KeyDataViewType(typeof(uint), size));
        counted["Features"].ColumnType = new VectorDataViewType(NumberDataViewType.Single, Windows * used * size);
        return Accuracy(ml, train, test, ml.Transforms.AudioTokens(new() { Audio = "AudioPath", LoadedCodec = codec, Output = "Codes" })
            .Append(ml.Transforms.CustomMapping<Coded, Counted>((from, to) => to.Features = Count(from.Codes, all, used, size), null, coded, counted)));
    }

    static float[] Count(uint[] codes, int all, int used, int size)
    {
        var counts = new float[Windows * used * size];
        int frames = codes.Length / all;
        for (int frame = 0; frame < frames; frame++)
            for (int k = 0; k < used; k++)
                counts[(frame * Windows / frames * used + k) * size + (int)codes[frame * all + k] - 1] += (float)Windows / frames; // key 1 is code 0
        return counts;
    }

    static double Accuracy(MLContext ml, IDataView train, IDataView test, IEstimator<ITransformer> features)
    {
        ITransformer model = features.Append(ml.Transforms.NormalizeMinMax("Features")).AppendCacheCheckpoint(ml)
            .Append(ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy("Label", "Features")).Fit(train);
        return ml.MulticlassClassification.Evaluate(model.Transform(test)).MicroAccuracy;
    }

    sealed class Coded
    {
        public uint[] Codes { get; set; } = [];
    }

    sealed class Counted
    {
        public float[] Features { get; set; } = [];
    }
}
