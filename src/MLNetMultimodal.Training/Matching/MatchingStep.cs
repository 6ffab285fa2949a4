using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>The losses of a step.</summary>
/// <param name="Total">What is made small: the others, weighed.</param>
/// <param name="Contrast">Image-text contrast (ITC).</param>
/// <param name="Matching">Image-text matching (ITM); 0 where the model does not fuse.</param>
/// <param name="Masking">Masked words (MLM); 0 where no words meet patches.</param>
readonly record struct MatchingLosses(float Total, float Contrast, float Matching, float Masking);

/// <summary>Loss and gradients of one batch (ALBEF: Li et al. 2021, arXiv:2107.07651, section 3.2): towers are aligned by contrast
/// (ITC), the multimodal encoder learns which of two that look alike belong together (ITM), and which words were masked
/// (MLM).</summary>
sealed class MatchingStep(ImageTextMatchingOptions options, AlbefConfig config, TorchModel model, MomentumEncoder? momentum)
{
    readonly TorchOps _ops = model.Ops(new() { BFloat16 = options.BFloat16 });

    Tensor Scale => model.Parameters["logit_scale"].exp();

    (Tensor Pixels, Tensor Ids, Tensor Keep) Inputs(MatchingBatch batch)
    {
        int edge = config.Vision.ImageSize;
        Tensor pixels = tensor(batch.Pixels, [batch.Count, config.Vision.Channels, edge, edge]).to(model.Device);
        Tensor ids = tensor(batch.Ids, [batch.Texts, batch.Length]).to(model.Device);
        return (pixels, ids, Albef.Keep(_ops, config, ids));
    }

    /// <summary>Adds the batch's gradients to those of the weights.</summary>
    public MatchingLosses Backward(MatchingBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        var random = new Random(batch.Seed);
        var (pixels, ids, keep) = Inputs(batch);
        AlbefTower<Tensor> image = Albef.Image(_ops, config, pixels), text = Albef.Text(_ops, config, ids, keep);
        Tensor itc = Contrast(image.Embeds, text.Embeds, pixels, ids, batch), loss = itc.Times(options.ContrastWeight);
        Tensor? itm = null, mlm = null;
        if (config.Fusion != AlbefFusion.None && options.MatchingWeight > 0)
        {
            float[] similarity = (Scale * image.Embeds.matmul(text.Embeds.t())).ToSingles();                // [B, U]
            var (images, texts) = Pairs(similarity, batch, options.EvenShare, random);
            itm = Matching(image.Tokens, text.Tokens, keep, images, texts, batch.Count);
            loss = loss.Plus(itm.Times(options.MatchingWeight));
        }
        if (config.FusesTokens && options.MaskingWeight > 0)
        {
            mlm = Masking(image.Tokens, batch, random);
            loss = loss.Plus(mlm.Times(options.MaskingWeight));
        }
        loss.backward();
        return new(loss.item<float>(), itc.item<float>(), itm?.item<float>() ?? 0, mlm?.item<float>() ?? 0);
    }

    /// <summary>Each picture finds its texts, and each caption its pictures: in the batch, or among what the momentum encoder makes of
    /// the batch and made of the rows before.</summary>
    Tensor Contrast(Tensor images, Tensor texts, Tensor pixels, Tensor ids, MatchingBatch batch)
    {
        Tensor caption = tensor(batch.Caption).to(model.Device), group = tensor(batch.Group).to(model.Device);
        Tensor right = tensor(batch.Positive, [batch.Count, batch.Texts]).to(model.Device).to(ScalarType.Float32); // [B, U]
        Tensor captions = texts.index_select(0, caption), rightPictures = right.t().index_select(0, caption);   // [B, E], [B, B]
        if (momentum is null)
            return ContrastiveLoss.Rows(Scale * images.matmul(texts.t()), right)
                .Plus(ContrastiveLoss.Rows(Scale * captions.matmul(images.t()), rightPictures)).Over(2);

        var (allImages, allTexts, queued) = momentum.Embed(pixels, ids);                                        // [B + q, E], [U + q, E], [q]
        Tensor rightQueued = group.unsqueeze(1).eq(queued.unsqueeze(0)).to(ScalarType.Float32);                 // [B, q]
        Tensor slowImages = allImages.slice(0, 0, batch.Count, 1), slowCaptions = allTexts.index_select(0, caption);
        Tensor loss = Side(images, slowImages, allTexts, cat([right, rightQueued], 1))
            .Plus(Side(captions, slowCaptions, allImages, cat([rightPictures, rightQueued], 1))).Over(2);
        momentum.Enqueue(slowImages, slowCaptions, group);
        return loss;

        Tensor Side(Tensor asks, Tensor slow, Tensor answers, Tensor positive)
        {
            Tensor targets = positive / positive.sum(1, keepdim: true);
            if (options.Distillation > 0)
                targets = targets.lerp(F.softmax((Scale * slow.matmul(answers.t())).detach(), 1), options.Distillation);
            return ContrastiveLoss.Rows(Scale * asks.matmul(answers.t()), targets);
        }
    }

    /// <summary>The pairs that are looked at: each picture with its caption, each with a wrong text, each caption with a wrong picture.
    /// Wrong ones are drawn the more often the more alike they are (section 3.2), or, in so large a share, all alike.</summary>
    public static (long[] Images, long[] Texts) Pairs(float[] similarity, MatchingBatch batch, double evenShare, Random random)
    {
        int count = batch.Count, texts = batch.Texts;
        var seen = new HashSet<(long Image, long Text)>(3 * count);
        var pairs = (Images: new List<long>(3 * count), Texts: new List<long>(3 * count));
        for (int i = 0; i < count; i++) Add(i, batch.Caption[i]);
        for (int i = 0; i < count; i++)
            if (Draw(texts, t => i * texts + t) is >= 0 and var text) Add(i, text);
        for (int i = 0; i < count; i++)
            if (Draw(count, p => p * texts + (int)batch.Caption[i]) is >= 0 and var picture) Add(picture, batch.Caption[i]);
        return ([.. pairs.Images], [.. pairs.Texts]);

        void Add(long image, long text)
        {
            if (!seen.Add((image, text))) return; // drawn by the picture and by the caption
            pairs.Images.Add(image);
            pairs.Texts.Add(text);
        }

        // -1 where all candidates are right.
        int Draw(int candidates, Func<int, int> cell)
        {
            float most = float.NegativeInfinity;
            for (int i = 0; i < candidates; i++)
                if (!batch.Positive[cell(i)]) most = MathF.Max(most, similarity[cell(i)]);
            bool evenly = random.NextDouble() < evenShare;
            double sum = 0;
            var shares = new double[candidates];
            for (int i = 0; i < candidates; i++)
                if (!batch.Positive[cell(i)]) sum += shares[i] = evenly ? 1 : Math.Exp(similarity[cell(i)] - most);
            double at = random.NextDouble() * sum;
            int last = -1;
            for (int i = 0; i < candidates; i++)
            {
                if (shares[i] == 0) continue;
                (last, at) = (i, at - shares[i]);
                if (at < 0) break;
            }
            return last;
        }
    }

    Tensor Matching(Tensor patches, Tensor words, Tensor keep, long[] images, long[] texts, int right)
    {
        Tensor image = tensor(images).to(model.Device), text = tensor(texts).to(model.Device);
        Tensor fused = Albef.Fuse(_ops, config, words.index_select(0, text), keep.index_select(0, text), patches.index_select(0, image));
        Tensor labels = tensor([.. Enumerable.Range(0, images.Length).Select(i => i < right ? 1L : 0L)]).to(model.Device);
        return F.cross_entropy(Albef.MatchLogits(_ops, config, fused).to(ScalarType.Float32), labels);
    }

    /// <summary>BERT's masking (Devlin et al. 2019, section 3.1): of the words that are to be told, 80 % are masked, 10 % are another
    /// word, 10 % stay. The picture of the text helps.</summary>
    Tensor Masking(Tensor patches, MatchingBatch batch, Random random)
    {
        int length = batch.Length;
        var masked = new long[batch.Count * length];
        var places = new List<long>();
        var answers = new List<long>();
        for (int row = 0; row < batch.Count; row++)
        {
            ReadOnlySpan<long> words = batch.Ids.AsSpan((int)batch.Caption[row] * length, length);
            words.CopyTo(masked.AsSpan(row * length));
            int tokens = words.IndexOf((long)config.Text.PadId) is >= 0 and var end ? end : length;
            if (tokens < 2) continue;
            int atLeast = random.Next(1, tokens); // not the first, which begins the text
            for (int i = 1; i < tokens; i++)
            {
                if (i != atLeast && random.NextDouble() >= options.MaskShare) continue;
                places.Add(row * length + i);
                answers.Add(words[i]);
                double lot = random.NextDouble();
                if (lot < 0.8) masked[row * length + i] = config.MaskTokenId;
                else if (lot < 0.9) masked[row * length + i] = random.Next(config.Text.VocabularySize);
            }
        }
        Tensor ids = tensor(masked, [batch.Count, length]).to(model.Device), keep = Albef.Keep(_ops, config, ids);
        Tensor fused = Albef.Fuse(_ops, config, Albef.Text(_ops, config, ids, keep).Tokens, keep, patches);
        Tensor told = fused.reshape(-1, fused.shape[2]).index_select(0, tensor(places.ToArray()).to(model.Device)); // [B, L, D] -> [M, D]
        return F.cross_entropy(Albef.WordLogits(_ops, config, told).to(ScalarType.Float32), tensor(answers.ToArray()).to(model.Device));
    }

    /// <summary>Pictures of a batch whose own caption scores higher than every text that is wrong for them.</summary>
    public int Right(MatchingBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var (pixels, ids, keep) = Inputs(batch);
        AlbefTower<Tensor> image = Albef.Image(_ops, config, pixels), text = Albef.Text(_ops, config, ids, keep);
        int right = 0;
        for (int i = 0; i < batch.Count; i++)
        {
            float[] scores = Scores(image, text, keep, i);
            float own = scores[batch.Caption[i]];
            if (scores.Where((score, t) => score >= own && !batch.Positive[i * batch.Texts + t]).Any()) continue;
            right++;
        }
        return right;
    }

    float[] Scores(AlbefTower<Tensor> image, AlbefTower<Tensor> text, Tensor keep, int picture)
    {
        using DisposeScope scope = NewDisposeScope();
        if (config.Fusion == AlbefFusion.None) return text.Embeds.matmul(image.Embeds[picture]).ToSingles();
        Tensor patches = image.Tokens.slice(0, picture, picture + 1, 1).expand([text.Tokens.shape[0], .. image.Tokens.shape[1..]]);
        Tensor logits = Albef.MatchLogits(_ops, config, Albef.Fuse(_ops, config, text.Tokens, keep, patches)).to(ScalarType.Float32);    // [U, 2]
        return (logits.select(1, 1) - logits.select(1, 0)).ToSingles();
    }
}
