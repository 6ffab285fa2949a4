using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// CLIP's byte-level BPE, whose words end in </w>.
sealed class ClipBpeModel : ITokenModel
{
    readonly BpeTokenizer _bpe;

    public ClipBpeModel(TokenizerDefinition definition)
    {
        var normalizer = new ClipNormalizer(definition.Composes, definition.Lowercases);
        // Texts are searched after normalising, so the tokens are normalised as well.
        Dictionary<string, int> specialTokens = [];
        foreach (AddedToken token in definition.SpecialTokens)
            specialTokens.TryAdd(normalizer.Normalize(token.Content), definition.Vocabulary[token.Content]);
        _bpe = BpeTokenizer.Create(new BpeOptions(definition.Vocabulary)
        {
            Merges = definition.Merges,
            Normalizer = normalizer,
            PreTokenizer = new ClipPreTokenizer(specialTokens.Keys, definition.SpecialTokensFirst),
            SpecialTokens = specialTokens,
            EndOfWordSuffix = TokenizerDefinition.WordEnd,
            ByteLevel = true,
        });
    }

    // Merging stops at the last id that is wanted instead of at the text's end.
    public IReadOnlyList<int> Encode(string text, int max) => _bpe.EncodeToIds(text, max, out _, out _);

    public string Decode(IReadOnlyList<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (string token in tokens)
        {
            bool endsWord = token.EndsWith(TokenizerDefinition.WordEnd, StringComparison.Ordinal);
            ByteLevel.AppendBytes(endsWord ? token.AsSpan(0, token.Length - TokenizerDefinition.WordEnd.Length) : token, bytes);
            if (endsWord)
                bytes.Add((byte)' ');
        }
        return Encoding.UTF8.GetString(bytes.ToArray()).TrimEnd(' ');
    }
}
