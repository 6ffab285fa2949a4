using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// GPT-2's byte-level BPE (Radford et al. 2019), which RoBERTa has too: a word begins with its space.
sealed class ByteLevelBpeModel : ITokenModel
{
    readonly BpeTokenizer _bpe;
    readonly AddedTokens _added;
    readonly bool _prefixSpace;

    public ByteLevelBpeModel(TokenizerDefinition definition)
    {
        _prefixSpace = definition.AddsPrefixSpace;
        _added = new(definition);
        _bpe = BpeTokenizer.Create(new BpeOptions(definition.Vocabulary)
        {
            Merges = definition.Merges,
            PreTokenizer = new Gpt2PreTokenizer(),
            ByteLevel = true,
        });
    }

    public IReadOnlyList<int> Encode(string text, int max) => _added.Encode(text, max, (part, at, rest) =>
        _bpe.EncodeToIds(_prefixSpace && part[0] != ' ' ? $" {part}" : part, rest, out _, out _));

    public string Decode(IReadOnlyList<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (string token in tokens)
            ByteLevel.AppendBytes(token, bytes);
        string text = Encoding.UTF8.GetString(bytes.ToArray());
        return _prefixSpace && text.StartsWith(' ') ? text[1..] : text;
    }
}
