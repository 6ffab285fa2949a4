using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Transforms;

/// <summary>Sounds of a batch: files, or samples at one rate.</summary>
/// <param name="rows">The most rows.</param>
sealed class SoundPart(int rows)
{
    public FilePart Files { get; } = new(rows);

    public VBuffer<float>[] Samples { get; } = new VBuffer<float>[rows];

    /// <summary>Of <see cref="Samples"/>, samples per second; 0 where the column holds files.</summary>
    public int SampleRateHz { get; set; }

    /// <summary>True where a slot has no sound: nothing, or samples that are all missing.</summary>
    public bool IsEmpty(int slot) => SampleRateHz == 0 ? Files.IsEmpty(slot) : Samples[slot].DenseValues().All(float.IsNaN);
}

/// <summary>A column of sounds: paths as text, bytes of files, or mono samples with a rate.</summary>
/// <param name="column">Its name.</param>
/// <param name="folder">Where relative paths start; null for the working directory.</param>
/// <param name="sampleRateHz">The rate of samples; null where the column's annotation says it.</param>
sealed class SoundColumn(string column, string? folder, int? sampleRateHz) : InputColumn<SoundPart>(column)
{
    /// <summary>Annotation of a column of samples: samples per second, as Int32.</summary>
    public const string SampleRateAnnotation = "SampleRateHz";

    /// <summary>A vector that is made of each sound.</summary>
    /// <param name="output">Its column.</param>
    /// <param name="type">Its type.</param>
    /// <param name="heard">What is heard of a sound.</param>
    /// <param name="annotations">Whole numbers that stand beside it.</param>
    /// <param name="onError">What happens where a sound cannot be read.</param>
    public VectorStep<SoundPart, float> Step(string output, VectorDataViewType type, AudioPreprocessing heard,
        IReadOnlyList<(string, int)> annotations, OnError onError) => new()
        {
            Output = output,
            Input = this,
            Type = type,
            Annotations = annotations,
            Compute = (part, slot) => heard.Apply(Decode(part, slot, heard)),
            Missing = float.NaN,
            OnError = onError,
        };

    /// <summary>Paths, encoded bytes or samples.</summary>
    public override void Check(DataViewType itemType, bool isVector)
    {
        bool holds = isVector ? itemType == NumberDataViewType.Byte || itemType == NumberDataViewType.Single
            : itemType is TextDataViewType;
        if (!holds)
            throw new ArgumentException($"column '{Name}' must hold sounds: paths as text, encoded files as a vector of Byte "
                + $"or samples as a vector of Single, but is {Columns.Describe(itemType, isVector)}.");
    }

    /// <exception cref="ArgumentException">The column holds no sounds, or samples whose rate nobody says.</exception>
    protected override void Check(DataViewSchema.Column found)
    {
        if (found.Type is VectorDataViewType { Dimensions.Length: > 1 })
            throw new ArgumentException($"column '{Name}' must hold sounds, but holds {found.Type}, such as a spectrogram.");
        if (HoldsSamples(found)) RateOf(found);
    }

    public override SoundPart NewPart(int rows) => new(rows);

    public override Action<SoundPart, int> Reader(DataViewRow input)
    {
        DataViewSchema.Column found = Find(input.Schema);
        if (!HoldsSamples(found))
        {
            Action<FilePart, int> file = FilePart.Reader(input, found);
            return (part, slot) => file(part.Files, slot);
        }
        int rate = RateOf(found);
        ValueGetter<VBuffer<float>> samples = input.GetGetter<VBuffer<float>>(found);
        return (part, slot) =>
        {
            part.SampleRateHz = rate;
            samples(ref part.Samples[slot]);
        };
    }

    /// <summary>The sound of a slot.</summary>
    /// <exception cref="InvalidDataException">There is none, or it cannot be read.</exception>
    public Waveform Decode(SoundPart part, int slot, AudioPreprocessing heard)
    {
        if (part.SampleRateHz > 0)
            return part.Samples[slot].Length > 0 ? new([.. part.Samples[slot].DenseValues()], part.SampleRateHz)
                : throw FilePart.Missing();
        return part.Files.Path(slot, folder) is { } path ? heard.Decode(path) : heard.Decode(part.Files.Content(slot).ToArray());
    }

    public override InvalidDataException Unreadable(SoundPart part, int slot, long row, Exception reason) =>
        FilePart.Unreadable(row, Name, "the sound", part.Files.Path(slot, folder), reason);

    static bool HoldsSamples(DataViewSchema.Column found) => Columns.ItemType(found) == NumberDataViewType.Single;

    int RateOf(DataViewSchema.Column found)
    {
        if (sampleRateHz is { } given) return given;
        int rate = 0;
        if (found.Annotations.Schema.GetColumnOrNull(SampleRateAnnotation)?.Type == NumberDataViewType.Int32)
            found.Annotations.GetValue(SampleRateAnnotation, ref rate);
        return rate is >= 1 and <= AudioReader.MaxSampleRateHz ? rate : throw new ArgumentException(
            $"column '{Name}' holds samples, but nobody says at which rate; set AudioSampleRateHz, or use a column with the "
            + $"annotation {SampleRateAnnotation}, as LoadAudio makes it.");
    }
}
