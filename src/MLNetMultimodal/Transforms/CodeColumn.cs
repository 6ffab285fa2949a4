using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Codes of a batch.</summary>
/// <param name="rows">The most rows.</param>
sealed class CodePart(int rows)
{
    public VBuffer<uint>[] Keys { get; } = new VBuffer<uint>[rows];

    /// <summary>K, codes of a frame.</summary>
    public int Codebooks { get; set; }
}

/// <summary>A column of a codec's codes: keys, frame after frame.</summary>
/// <param name="column">Its name.</param>
/// <param name="codebooks">K; null where the column's annotation says it.</param>
/// <param name="codec">The codec whose codes they are; null where only the type matters.</param>
sealed class CodeColumn(string column, int? codebooks, AudioCodec? codec) : InputColumn<CodePart>(column)
{
    /// <summary>Annotation of a column of codes: K, as Int32.</summary>
    public const string CodebooksAnnotation = "Codebooks";

    public override void Check(DataViewType itemType, bool isVector)
    {
        if (!isVector || itemType.RawType != typeof(uint))
            throw new ArgumentException($"column '{Name}' must hold codes as a vector of keys, as AudioTokens makes it, but is "
                + $"{Columns.Describe(itemType, isVector)}.");
    }

    protected override void Check(DataViewSchema.Column found)
    {
        if (Columns.ItemType(found) is not KeyDataViewType key
            || (codec is not null && (int)key.Count != codec.Config.CodebookSize))
            throw new ArgumentException($"column '{Name}' must hold keys of the codec's {codec?.Config.CodebookSize} codes, "
                + "but is "
                + $"{Columns.Describe(Columns.ItemType(found), true)}.");
        CodebooksOf(found);
    }

    public override CodePart NewPart(int rows) => new(rows);

    public override Action<CodePart, int> Reader(DataViewRow input)
    {
        DataViewSchema.Column found = Find(input.Schema);
        int count = CodebooksOf(found);
        ValueGetter<VBuffer<uint>> keys = input.GetGetter<VBuffer<uint>>(found);
        return (part, slot) =>
        {
            part.Codebooks = count;
            keys(ref part.Keys[slot]);
        };
    }

    public override InvalidDataException Unreadable(CodePart part, int slot, long row, Exception reason) =>
        FilePart.Unreadable(row, Name, "the codes", null, reason);

    /// <summary>The sound that keys [frames, K] stand for.</summary>
    /// <exception cref="InvalidDataException">There are none, one is missing, or they make no whole frames.</exception>
    public static CodedSound Sound(CodePart part, int slot, AudioCodec codec)
    {
        uint[] keys = [.. part.Keys[slot].DenseValues()];
        int count = part.Codebooks, frames = keys.Length / count;
        if (keys.Length == 0) throw FilePart.Missing();
        if (keys.Length % count != 0)
            throw new InvalidDataException($"{keys.Length} codes are no whole number of frames of {count}.");
        if (keys.Contains(0u)) throw new InvalidDataException("a code is missing.");
        var codes = new long[keys.Length];
        for (int i = 0; i < codes.Length; i++)
            codes[i] = keys[i % frames * count + i / frames] - 1L; // [frames, K] -> [K, frames]
        return new(checked(frames * codec.Config.HopSamples), count, [new(codes, 1)]);
    }

    int CodebooksOf(DataViewSchema.Column found)
    {
        if (codebooks is { } given) return given;
        int count = 0;
        if (found.Annotations.Schema.GetColumnOrNull(CodebooksAnnotation)?.Type == NumberDataViewType.Int32)
            found.Annotations.GetValue(CodebooksAnnotation, ref count);
        return count >= 1 ? count : throw new ArgumentException($"column '{Name}' does not say how many codes a frame has; set "
            + $"Codebooks, or use a column with the annotation {CodebooksAnnotation}, as AudioTokens makes it.");
    }
}
