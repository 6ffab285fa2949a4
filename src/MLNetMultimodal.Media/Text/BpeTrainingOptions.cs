namespace MLNetMultimodal.Media.Text;

/// <summary>What kind of tokenizer <see cref="ByteLevelBpeTrainer"/> makes.</summary>
public sealed record BpeTrainingOptions
{
    /// <summary>The fewest tokens there can be: each byte inside a word and at its end, and the begin and end tokens.</summary>
    public const int MinVocabularySize = 514;

    /// <summary>V, how many tokens there are at most; fewer where the texts do not have enough frequent pairs.</summary>
    /// <value><see cref="MinVocabularySize"/> to 1,000,000; default 8192.</value>
    public int VocabularySize { get; init => field = Check(value, MinVocabularySize, 1_000_000, nameof(VocabularySize)); } = 8192;

    /// <summary>How often a pair must be there to become a token; higher values forget rare words and names.</summary>
    /// <value>1 or more; default 2.</value>
    public int MinFrequency { get; init => field = Check(value, 1, int.MaxValue, nameof(MinFrequency)); } = 2;

    /// <summary>L, the most tokens of a text, with the begin and end tokens.</summary>
    /// <value>2 to 1,048,576; default 77, CLIP's.</value>
    public int ContextLength
    {
        get;
        init => field = Check(value, 2, TokenizerDefinition.MaxContextLength, nameof(ContextLength));
    } = TokenizerDefinition.DefaultContextLength;

    /// <summary>Whether capitals are read as small letters, as CLIP does; default true.</summary>
    public bool Lowercase { get; init; } = true;

    static int Check(int value, int min, int max, string name) => value >= min && value <= max ? value
        : throw new ArgumentOutOfRangeException(name, value, $"{name} must be {min} to {max}.");
}
